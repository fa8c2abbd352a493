/* SPDX-License-Identifier: MIT */
/* A FILE that packs what is written to it on its way to another. */
#include "trace/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define OUT_BYTES  (128u << 10)
#define ZSTD_LEVEL 3

struct pack {
	FILE *to;
	enum trace_packing packing;
	int error;
	union {
		z_stream gz;
		ZSTD_CStream *zstd;
	};
	uint8_t out[OUT_BYTES];
};

static int put(struct pack *p, size_t len)
{
	errno = 0;
	if (!p->error && fwrite(p->out, 1, len, p->to) != len)
		p->error = errno ? errno : EIO;
	return p->error;
}

static int gzip_put(struct pack *p, const char *data, size_t len, bool end)
{
	int rc;

	p->gz.next_in = (Bytef *)(uintptr_t)data;
	p->gz.avail_in = (uInt)len;
	do {
		p->gz.next_out = p->out;
		p->gz.avail_out = OUT_BYTES;
		rc = deflate(&p->gz, end ? Z_FINISH : Z_NO_FLUSH);
		if (rc == Z_STREAM_ERROR)
			p->error = EIO;
		if (put(p, OUT_BYTES - p->gz.avail_out))
			return p->error;
	} while (!p->gz.avail_out || (end && rc != Z_STREAM_END));
	return 0;
}

static int zstd_put(struct pack *p, const char *data, size_t len, bool end)
{
	ZSTD_inBuffer in = {data, len, 0};
	size_t left;

	do {
		ZSTD_outBuffer out = {p->out, OUT_BYTES, 0};

		left = ZSTD_compressStream2(p->zstd, &out, &in,
					    end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			p->error = EIO;
		if (put(p, out.pos))
			return p->error;
	} while (end ? left != 0 : in.pos < in.size);
	return 0;
}

static int pack_put(struct pack *p, const char *data, size_t len, bool end)
{
	if (p->packing == TRACE_GZIP)
		return gzip_put(p, data, len, end);
	return zstd_put(p, data, len, end);
}

static ssize_t cookie_write(void *cookie, const char *data, size_t len)
{
	struct pack *p = cookie;

	if (!p->error && !pack_put(p, data, len, false))
		return (ssize_t)len;
	errno = p->error;
	return 0; /* of this kind of FILE: an error */
}

static int cookie_close(void *cookie)
{
	struct pack *p = cookie;
	int error;

	if (!p->error)
		pack_put(p, NULL, 0, true);
	error = p->error;
	if (p->packing == TRACE_GZIP)
		deflateEnd(&p->gz);
	else
		ZSTD_freeCStream(p->zstd);
	free(p);
	errno = error;
	return error ? EOF : 0;
}

static int begin(struct pack *p)
{
	if (p->packing == TRACE_GZIP)
		/* 15: the largest window; +16: gzip */
		return deflateInit2(&p->gz, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
				    15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK
			   ? 0
			   : -ENOMEM;
	p->zstd = ZSTD_createCStream();
	if (!p->zstd)
		return -ENOMEM;
	ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_checksumFlag, 1);
	return 0;
}

FILE *trace_pack(FILE *to, enum trace_packing packing)
{
	cookie_io_functions_t io = {.write = cookie_write,
				    .close = cookie_close};
	struct pack *p = calloc(1, sizeof(*p));
	FILE *f;

	if (!p)
		return NULL;
	p->to = to;
	p->packing = packing;
	if (packing == TRACE_PLAIN || begin(p)) {
		free(p);
		errno = packing == TRACE_PLAIN ? EINVAL : ENOMEM;
		return NULL;
	}
	f = fopencookie(p, "w", io);
	if (!f) {
		p->error = ENOMEM; /* nothing may be written */
		cookie_close(p);
	}
	return f;
}
