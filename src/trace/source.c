/* SPDX-License-Identifier: MIT */
/* See source.h. */
#include "trace/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

/* Frames of zstd may ask for more memory than this with --long alone. */
#define ZSTD_WINDOW_LOG 27

struct unpack {
	uint8_t in[PACKED_WINDOW];
	size_t in_pos, in_len;
	bool in_eof;
	bool inside; /* a member or frame has begun and not ended */
	union {
		z_stream gz;
		ZSTD_DStream *zstd;
	};
};

/* --- bytes as they stand in the file ---------------------------------- */

/* Reads up to `len` bytes; *got is 0 at the end only. */
static int raw_read(struct source *s, uint8_t *to, size_t len, size_t *got)
{
	ssize_t n;

	if (s->fd < 0) {
		*got = s->mem_len - s->raw < len ? s->mem_len - s->raw : len;
		if (*got)
			memcpy(to, s->mem + s->raw, *got);
		s->raw += *got;
		return 0;
	}
	do
		n = read(s->fd, to, len);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		s->why = strerror(errno);
		return -errno;
	}
	*got = (size_t)n;
	s->raw += *got;
	return 0;
}

/* --- unpacking -------------------------------------------------------- */

static int unpack_refill(struct source *s)
{
	struct unpack *u = s->unpack;
	int rc;

	if (u->in_pos < u->in_len || u->in_eof)
		return 0;
	rc = raw_read(s, u->in, sizeof(u->in), &u->in_len);
	if (rc)
		return rc;
	u->in_pos = 0;
	u->in_eof = !u->in_len;
	return 0;
}

static int damaged(struct source *s, const char *why)
{
	s->why = why;
	return -EBADMSG;
}

static int gzip_step(struct source *s, uint8_t *to, size_t len, size_t *got)
{
	struct unpack *u = s->unpack;
	int rc;

	if (!u->inside && inflateReset(&u->gz) != Z_OK)
		return damaged(s, "the gzip data is damaged");
	u->inside = true;
	u->gz.next_in = u->in + u->in_pos;
	u->gz.avail_in = (uInt)(u->in_len - u->in_pos);
	u->gz.next_out = to;
	u->gz.avail_out = (uInt)len;
	rc = inflate(&u->gz, Z_NO_FLUSH);
	u->in_pos = u->in_len - u->gz.avail_in;
	*got = len - u->gz.avail_out;
	switch (rc) {
	case Z_STREAM_END:
		u->inside = false; /* another member may follow */
		return 0;
	case Z_OK:
	case Z_BUF_ERROR: /* wants more input */
		return 0;
	case Z_MEM_ERROR:
		s->why = "not enough memory to unpack it";
		return -ENOMEM;
	default:
		return damaged(s, "the gzip data is damaged");
	}
}

static int zstd_step(struct source *s, uint8_t *to, size_t len, size_t *got)
{
	struct unpack *u = s->unpack;
	ZSTD_inBuffer in = {u->in, u->in_len, u->in_pos};
	ZSTD_outBuffer out = {to, len, 0};
	size_t rc = ZSTD_decompressStream(u->zstd, &out, &in);

	u->in_pos = in.pos;
	*got = out.pos;
	if (ZSTD_isError(rc)) {
		if (strstr(ZSTD_getErrorName(rc), "memory"))
			return damaged(s, "the zstd data wants a window of "
					  "more than 128 MiB");
		return damaged(s, "the zstd data is damaged");
	}
	u->inside = rc != 0; /* 0: a frame has ended */
	return 0;
}

/* As raw_read, unpacked. */
static int unpack_read(struct source *s, uint8_t *to, size_t len, size_t *got)
{
	struct unpack *u = s->unpack;
	size_t before;
	int rc;

	for (*got = 0; !*got;) {
		rc = unpack_refill(s);
		if (rc)
			return rc;
		if (u->in_eof && !u->inside)
			return 0;
		before = u->in_pos;
		rc = s->packing == TRACE_GZIP ? gzip_step(s, to, len, got)
					      : zstd_step(s, to, len, got);
		if (rc)
			return rc;
		if (u->in_eof && !*got && u->inside)
			return damaged(s, s->packing == TRACE_GZIP
					      ? "the gzip data is cut off"
					      : "the zstd data is cut off");
		if (!*got && u->in_pos == before && before < u->in_len)
			return damaged(s, "the packed data is damaged");
	}
	return 0;
}

static int unpack_begin(struct source *s)
{
	struct unpack *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	if (s->packing == TRACE_GZIP) {
		/* 15: the largest window; +16: gzip and nothing else */
		if (inflateInit2(&u->gz, 15 + 16) != Z_OK)
			goto fail;
	} else {
		u->zstd = ZSTD_createDStream();
		if (!u->zstd)
			goto fail;
		ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
				       ZSTD_WINDOW_LOG);
	}
	s->unpack = u;
	return 0;
fail:
	free(u);
	return -ENOMEM;
}

static void unpack_end(struct source *s)
{
	if (!s->unpack)
		return;
	if (s->packing == TRACE_GZIP)
		inflateEnd(&s->unpack->gz);
	else
		ZSTD_freeDStream(s->unpack->zstd);
	free(s->unpack);
	s->unpack = NULL;
}

/* --- the window ------------------------------------------------------- */

int source_more(struct source *s, size_t want)
{
	size_t left = source_left(s), got;
	int rc = 0;

	if (s->pos) {
		memmove(s->data, s->data + s->pos, left);
		s->base += s->pos;
		s->pos = 0;
		s->len = left;
	}
	while (s->len < want && !s->eof) {
		rc = s->unpack ? unpack_read(s, s->data + s->len,
					     SOURCE_WINDOW - s->len, &got)
			       : raw_read(s, s->data + s->len,
					  SOURCE_WINDOW - s->len, &got);
		if (rc)
			break;
		s->len += got;
		s->eof = !got;
	}
	memset(s->data + s->len, 0, SOURCE_PAD);
	return rc;
}

static enum trace_packing packing_of(const uint8_t *p, size_t len)
{
	/* Frames to be skipped, 184D2A5?, may stand first. */
	if (len >= 4 &&
	    (!memcmp(p, "\x28\xb5\x2f\xfd", 4) ||
	     ((p[0] & 0xf0) == 0x50 && !memcmp(p + 1, "\x2a\x4d\x18", 3))))
		return TRACE_ZSTD;
	if (len >= 2 && p[0] == 0x1f && p[1] == 0x8b)
		return TRACE_GZIP;
	return TRACE_PLAIN;
}

/* Reads the first bytes; when they are packed they go where packed ones are
 * expected, else into the window. */
static int source_begin(struct source *s)
{
	size_t got = 1;
	int rc;

	while (s->len < 4 && got) {
		rc =
		    raw_read(s, s->data + s->len, PACKED_WINDOW - s->len, &got);
		if (rc)
			return rc;
		s->len += got;
	}
	memset(s->data + s->len, 0, SOURCE_PAD);
	s->packing = packing_of(s->data, s->len);
	if (s->packing == TRACE_PLAIN)
		return 0;
	rc = unpack_begin(s);
	if (rc) {
		s->why = "not enough memory to unpack it";
		return rc;
	}
	memcpy(s->unpack->in, s->data, s->len);
	s->unpack->in_len = s->len;
	s->len = 0;
	return source_more(s, 1);
}

int source_open(struct source *s, int fd, const void *mem, size_t mem_len)
{
	struct stat st;

	*s = (struct source){.fd = fd, .mem = mem, .mem_len = mem_len};
	s->raw_total = fd < 0 ? mem_len : 0;
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
		/* Standard input may stand in the middle of a file. */
		s->start = lseek(fd, 0, SEEK_CUR);
		s->start = s->start < 0 ? 0 : s->start;
		if (st.st_size > s->start)
			s->raw_total = (uint64_t)(st.st_size - s->start);
	}
	s->data = malloc(SOURCE_WINDOW + SOURCE_PAD);
	if (!s->data) {
		s->why = strerror(ENOMEM);
		return -ENOMEM;
	}
	return source_begin(s);
}

void source_close(struct source *s)
{
	unpack_end(s);
	free(s->data);
	s->data = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

int source_rewind(struct source *s)
{
	if (s->fd >= 0 && lseek(s->fd, s->start, SEEK_SET) < 0) {
		s->why = strerror(errno);
		return -errno;
	}
	unpack_end(s);
	s->pos = s->len = 0;
	s->base = s->raw = 0;
	s->eof = false;
	return source_begin(s);
}
