/* SPDX-License-Identifier: MIT */
#include "store/zcodec.h"

#include <errno.h>
#include <string.h>

#define LZ4_STATIC_LINKING_ONLY
#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "store/zlock.h"

#define ALIGN 64u
/* Behind a page that does not get shorter: both codecs stop at the length they
 * are given, so this is for nothing but the reader's peace. */
#define OUT_SIZE (ZCODEC_PAGE + ALIGN)

static size_t rounded(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

const char *zcodec_name(enum zcodec_kind kind)
{
	static const char *const name[NR_ZCODECS] = {
	    [ZCODEC_OFF] = "off", [ZCODEC_LZ4] = "lz4", [ZCODEC_ZSTD] = "zstd"};

	return (unsigned)kind < NR_ZCODECS ? name[kind] : NULL;
}

const char *zcodec_version(enum zcodec_kind kind)
{
	return kind == ZCODEC_LZ4 ? LZ4_versionString() : ZSTD_versionString();
}

static size_t work_bytes(enum zcodec_kind kind, int level)
{
	if (kind == ZCODEC_LZ4)
		return rounded((size_t)LZ4_sizeofState());
	return rounded(ZSTD_estimateCCtxSize_usingCParams(
	    ZSTD_getCParams(level, ZCODEC_PAGE, 0)));
}

static size_t expand_bytes(enum zcodec_kind kind)
{
	return kind == ZCODEC_ZSTD ? rounded(ZSTD_estimateDCtxSize()) : 0;
}

static bool level_ok(enum zcodec_kind kind, int level)
{
	switch (kind) {
	case ZCODEC_LZ4:
		return level >= 1 && level <= ZCODEC_LZ4_LEVEL_MAX;
	case ZCODEC_ZSTD:
		return level >= 1 && level <= ZCODEC_ZSTD_LEVEL_MAX;
	default:
		return false;
	}
}

size_t zcodec_bytes(enum zcodec_kind kind, int level, unsigned nr)
{
	if (!level_ok(kind, level) || !nr || nr > ZCODEC_CONTEXTS_MAX)
		return 0;
	return nr * (work_bytes(kind, level) + expand_bytes(kind) + OUT_SIZE);
}

static int ctx_init(struct zcodec *c, struct zctx *x)
{
	if (c->kind == ZCODEC_LZ4)
		return LZ4_initStream(x->work, (size_t)LZ4_sizeofState())
			   ? 0
			   : -EINVAL;
	/* The compressor is made at each start of its memory: the pointer that
	 * comes back is the memory itself. */
	x->work = ZSTD_initStaticCCtx(x->work, work_bytes(c->kind, c->level));
	x->expand = ZSTD_initStaticDCtx(x->expand, expand_bytes(c->kind));
	return x->work && x->expand ? 0 : -EINVAL;
}

int zcodec_init(struct zcodec *c, enum zcodec_kind kind, int level, unsigned nr,
		void *mem)
{
	char *p = mem;

	if (!zcodec_bytes(kind, level, nr))
		return -EINVAL;
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	c->level = level;
	c->nr = nr;
	for (unsigned i = 0; i < nr; i++) {
		struct zctx *x = &c->ctx[i];
		int err;

		x->codec = c;
		x->work = p;
		p += work_bytes(kind, level);
		x->expand = p;
		p += expand_bytes(kind);
		x->out = (unsigned char *)p;
		p += OUT_SIZE;
		err = ctx_init(c, x);
		if (err)
			return err;
	}
	return 0;
}

void zcodec_after_fork(struct zcodec *c)
{
	for (unsigned i = 0; i < c->nr; i++)
		atomic_store(&c->ctx[i].taken, 0);
}

struct zctx *zcodec_take(struct zcodec *c, unsigned hint)
{
	unsigned spins = 0;

	for (unsigned i = hint % c->nr;; i = (i + 1) % c->nr) {
		struct zctx *x = &c->ctx[i];

		if (!atomic_load_explicit(&x->taken, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&x->taken, 1,
					      memory_order_acquire))
			return x;
		zlock_pause(&spins);
	}
}

void zcodec_let(struct zctx *x)
{
	atomic_store_explicit(&x->taken, 0, memory_order_release);
}

unsigned zcodec_compress(struct zctx *x, const void *page, unsigned max)
{
	struct zcodec *c = x->codec;
	size_t n;

	if (max > ZCODEC_PAGE)
		max = ZCODEC_PAGE;
	if (c->kind == ZCODEC_LZ4) {
		/* "fast reset": the table is not cleared for each page, which
		 * would cost a tenth of the whole. */
		int len = LZ4_compress_fast_extState_fastReset(
		    x->work, page, (char *)x->out, ZCODEC_PAGE, (int)max,
		    c->level);

		return len > 0 ? (unsigned)len : 0;
	}
	n = ZSTD_compressCCtx(x->work, x->out, max, page, ZCODEC_PAGE,
			      c->level);
	return ZSTD_isError(n) ? 0 : (unsigned)n;
}

bool zcodec_expand(struct zcodec *c, unsigned hint, const void *in,
		   unsigned len, void *page)
{
	struct zctx *x;
	size_t n;

	if (c->kind == ZCODEC_LZ4)
		return LZ4_decompress_safe(in, page, (int)len,
					   (int)ZCODEC_PAGE) ==
		       (int)ZCODEC_PAGE;
	x = zcodec_take(c, hint);
	n = ZSTD_decompressDCtx(x->expand, page, ZCODEC_PAGE, in, len);
	zcodec_let(x);
	return n == ZCODEC_PAGE;
}

bool zcodec_same_filled(const void *page, uint64_t *word)
{
	const uint64_t *p = page;

	/* First and last word tell nearly every other page. */
	if (p[0] != p[ZCODEC_PAGE / 8 - 1] || p[0] != p[1])
		return false;
	if (memcmp(p, p + 1, ZCODEC_PAGE - sizeof(*p)) != 0)
		return false;
	*word = p[0];
	return true;
}

void zcodec_fill(void *page, uint64_t word)
{
	uint64_t *p = page;

	for (unsigned i = 0; i < ZCODEC_PAGE / 8; i++)
		p[i] = word;
}
