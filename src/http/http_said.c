/* Messages: what servers say, made fit to be shown (short, one line, nothing of a key), and what libcurl ended with. */
#include "http/http_internal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/utf8.h"

#define HTTP_SAID_SHOWN  200u /* bytes of an answer that are shown */
#define HTTP_SAID_SHARED 8u   /* characters in common with the key that are too many */

/* Control characters, and those that reorder or hide what stands beside them. */
static bool http_clean_drops(int32_t c) {
    return c <= 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

/* How many bytes at the start of s[0..n) occur somewhere in the key. */
static size_t http_clean_shared(const char *s, size_t n, const char *key) {
    size_t most = 0;
    for (; *key != '\0'; key++) {
        size_t same = 0;
        while (same < n && key[same] != '\0' && key[same] == s[same]) {
            same++;
        }
        most = same > most ? same : most;
    }
    return most;
}

void http_clean(const char *s, size_t n, const char *key, char *out, size_t room) {
    const size_t least =
        key != NULL && strlen(key) < HTTP_SAID_SHARED ? strlen(key) : HTTP_SAID_SHARED;
    size_t len = 0;
    bool space = false;
    for (size_t i = 0; i < n;) {
        int32_t c = 0;
        size_t bytes = utf8_next(s + i, n - i, &c);
        const size_t shared = key == NULL ? 0 : http_clean_shared(s + i, n - i, key);
        const bool secret = shared > 0 && shared >= least;
        if (!secret && (bytes == 0 || http_clean_drops(c))) {
            space = len > 0;
            i += bytes == 0 ? 1 : bytes;
            continue;
        }
        const char *const shown = secret ? "***" : s + i;
        const size_t shown_n = secret ? 3 : bytes;
        if (len + space + shown_n + 1 > room) {
            break;
        }
        if (space) {
            out[len++] = ' ';
            space = false;
        }
        memcpy(out + len, shown, shown_n);
        len += shown_n;
        i += secret ? shared : bytes;
    }
    out[len] = '\0';
}

int http_refused(const struct http_request *q, const struct http_reply *r, const char *said,
                 u2i_error_t *err) {
    char shown[HTTP_SAID_SHOWN];
    const char *const text = said != NULL ? said : r->body.len > 0 ? r->body.data : "";
    http_clean(text, said != NULL ? strlen(said) : r->body.len, q->key, shown, sizeof shown);
    return error_set(err, U2I_EREMOTE, "%s answered %d%s%s", r->place.host_port, r->status,
                     shown[0] != '\0' ? ": " : "", shown);
}

/* ---- What libcurl ended with ------------------------------------------------------------------ */

int http_too_large(struct http_turn *t) {
    return error_set(t->err, U2I_EREMOTE, "%s sends more than %llu bytes",
                     t->reply->place.host_port, (unsigned long long)t->body_max);
}

/* Time ran out: of which limit? */
static int http_fault_time(struct http_turn *t) {
    const struct http_request *const q = t->q;
    const char *const host = t->reply->place.host_port;
    curl_off_t spent_us = 0, connected_us = 0;
    (void)t->lib->easy_getinfo(t->curl, CURLINFO_TOTAL_TIME_T, &spent_us); /* these can't fail */
    (void)t->lib->easy_getinfo(t->curl, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    if (q->timeout_ms > 0 && (uint64_t)spent_us / 1000 + 1 >= t->left_ms) {
        return error_set(t->err, U2I_ETIMEOUT, "%s did not answer within %u ms", host,
                         q->timeout_ms);
    }
    t->reply->again = true;
    if (connected_us == 0) {
        return error_set(t->err, U2I_EREMOTE, "no connection to %s in time", host);
    }
    return error_set(t->err, U2I_EREMOTE, "%s went silent", host);
}

int http_fault(struct http_turn *t, CURLcode code) {
    static const struct {
        CURLcode code;
        bool again;
        const char *before, *after; /* the host's name */
    } faults[] = {
        {CURLE_COULDNT_RESOLVE_HOST, true, "no connection to ", ""},
        {CURLE_COULDNT_RESOLVE_PROXY, true, "no connection to ", ""},
        {CURLE_COULDNT_CONNECT, true, "no connection to ", ""},
        {CURLE_SSL_CONNECT_ERROR, true, "no connection to ", ""},
        {CURLE_PEER_FAILED_VERIFICATION, false, "", " is not trusted"},
        {CURLE_SSL_ISSUER_ERROR, false, "", " is not trusted"},
        {CURLE_SSL_CACERT_BADFILE, false, "", " is not trusted"},
        {CURLE_GOT_NOTHING, true, "", " cut the answer off"},
        {CURLE_PARTIAL_FILE, true, "", " cut the answer off"},
        {CURLE_SEND_ERROR, true, "", " cut the answer off"},
        {CURLE_RECV_ERROR, true, "", " cut the answer off"},
        {CURLE_HTTP2, true, "", " cut the answer off"},
        {CURLE_HTTP2_STREAM, true, "", " cut the answer off"},
    };
    const char *detail = t->detail[0] != '\0' ? t->detail : t->lib->easy_strerror(code);
    const char *before = "", *after = "";
    char shown[HTTP_SAID_SHOWN];
    if (code == CURLE_OUT_OF_MEMORY) {
        return error_oom(t->err);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return http_fault_time(t);
    }
    long why = 0;
    (void)t->lib->easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &why); /* can't fail */
    if (code == CURLE_COULDNT_CONNECT && why != 0) {
        detail = strerror((int)why); /* libcurl's own words name the host once more */
    }
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (faults[i].code == code) {
            t->reply->again = faults[i].again;
            before = faults[i].before;
            after = faults[i].after;
        }
    }
    http_clean(detail, strlen(detail), t->q->key, shown, sizeof shown);
    return error_set(t->err, U2I_EREMOTE, "%s%s%s: %s", before, t->reply->place.host_port, after,
                     shown);
}
