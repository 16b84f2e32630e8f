/* What both load tools need: OpenFlow 1.0 (0x01) and 1.3 (0x04) by byte offsets, buffers, clocks.
 * No struct overlays, so no trouble with alignment. */
#ifndef VMOC_BENCH_OF_H
#define VMOC_BENCH_OF_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    HELLO = 0, ERROR_MSG = 1, ECHO_REQUEST = 2, ECHO_REPLY = 3, EXPERIMENTER = 4, FEATURES_REQUEST = 5,
    FEATURES_REPLY = 6, GET_CONFIG_REQUEST = 7, GET_CONFIG_REPLY = 8, SET_CONFIG = 9, PACKET_IN = 10,
    PACKET_OUT = 13, FLOW_MOD = 14,
};
/* these numbers differ between the versions */
#define STATS_REQUEST(v) ((v) == 1 ? 16 : 18)
#define STATS_REPLY(v) ((v) == 1 ? 17 : 19)
#define BARRIER_REQUEST(v) ((v) == 1 ? 18 : 20)
#define BARRIER_REPLY(v) ((v) == 1 ? 19 : 21)
#define QUEUE_REQUEST(v) ((v) == 1 ? 20 : 22)
#define QUEUE_REPLY(v) ((v) == 1 ? 21 : 23)
enum { ROLE_REQUEST = 24, ROLE_REPLY = 25, GET_ASYNC_REQUEST = 26, GET_ASYNC_REPLY = 27 }; /* 1.3 */

#define NO_BUFFER 0xffffffffu
#define OXM_IN_PORT 0x80000004u
#define OXM_ETH_DST 0x80000606u
#define OXM_ETH_SRC 0x80000806u
#define OXM_VLAN_VID 0x80000c02u

static inline void put16(uint8_t *p, uint16_t v) { p[0] = v >> 8; p[1] = v; }
static inline void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16); put16(p + 2, v); }
static inline void put64(uint8_t *p, uint64_t v) { put32(p, v >> 32); put32(p + 4, v); }
static inline uint16_t get16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static inline uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }

static inline void put_header(uint8_t *p, int version, int type, int length, uint32_t xid)
{
    p[0] = version;
    p[1] = type;
    put16(p + 2, length);
    put32(p + 4, xid);
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline double own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* A byte buffer that grows; data is [start, end). */
struct buffer { uint8_t *data; size_t start, end, capacity; };

static inline size_t pending(const struct buffer *b) { return b->end - b->start; }

static inline uint8_t *room(struct buffer *b, size_t n)
{
    if (b->start == b->end)
        b->start = b->end = 0;
    if (b->end + n > b->capacity && b->start) {
        memmove(b->data, b->data + b->start, pending(b));
        b->end -= b->start;
        b->start = 0;
    }
    if (b->end + n > b->capacity) {
        b->capacity = (b->end + n) * 2;
        b->data = realloc(b->data, b->capacity);
        if (!b->data) {
            perror("realloc");
            exit(1);
        }
    }
    return b->data + b->end;
}

/* n zeroed bytes at the end of the buffer */
static inline uint8_t *append(struct buffer *b, size_t n)
{
    uint8_t *p = room(b, n);
    memset(p, 0, n);
    b->end += n;
    return p;
}

static inline void append_copy(struct buffer *b, const void *data, size_t n)
{
    memcpy(room(b, n), data, n);
    b->end += n;
}

/* 0, or -1 when the connection is broken; what the kernel does not take stays in the buffer */
static inline int flush(struct buffer *b, int fd)
{
    while (pending(b)) {
        ssize_t n = send(fd, b->data + b->start, pending(b), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        b->start += n;
    }
    b->start = b->end = 0;
    return 0;
}

/* 0, or -1 at the end of the connection */
static inline int fill(struct buffer *b, int fd)
{
    ssize_t n = recv(fd, room(b, 65536), 65536, 0);
    if (n > 0)
        b->end += n;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : -1;
}

/* the next whole message, or NULL; *broken is set when the length field is impossible */
static inline const uint8_t *next_message(struct buffer *b, int *length, int *broken)
{
    const uint8_t *m = b->data + b->start;
    if (pending(b) < 8)
        return NULL;
    *length = get16(m + 2);
    if (*length < 8) {
        *broken = 1;
        return NULL;
    }
    if (pending(b) < (size_t)*length)
        return NULL;
    b->start += *length;
    return m;
}

static inline void set_socket(int fd)
{
    int one = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline void allow_many_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/*
 * The tools stand for other machines: they wait for no processor, as far as the system lets them (root; a turn of
 * 0.1 ms from Linux 6.12 on), at the same priority as VMOC's workers.
 */
static inline void go_first(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } turn = {.size = sizeof turn, .nice = -10, .runtime = 100000};
    int group = open("/proc/self/autogroup", O_WRONLY);
    if (group < 0 || write(group, "-10", 3) < 0 || syscall(SYS_sched_setattr, 0, &turn, 0)) {
        turn.nice = 0;
        syscall(SYS_sched_setattr, 0, &turn, 0);
    }
    if (group >= 0)
        close(group);
}

static inline void run_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) {
        perror("sched_setaffinity");
        exit(1);
    }
}

/* The addresses and the outermost VLAN of a frame; vlan is 0 for an untagged one, -1 when it is no frame. */
struct frame { int vlan, ethertype; const uint8_t *dst, *src; };

static inline struct frame read_frame(const uint8_t *d, int length)
{
    struct frame f = {-1, 0, NULL, NULL};
    if (length < 14)
        return f;
    f.vlan = 0;
    f.dst = d;
    f.src = d + 6;
    f.ethertype = get16(d + 12);
    if ((f.ethertype == 0x8100 || f.ethertype == 0x88a8) && length >= 18) {
        f.vlan = get16(d + 14) & 0xfff;
        f.ethertype = get16(d + 16);
    }
    return f;
}

/* "101,102" or "100-199,300" into a table of 4096 flags; returns how many */
static inline int read_vlans(char *text, uint8_t *flags, int *list)
{
    int n = 0;
    for (char *item = strtok(text, ","); item; item = strtok(NULL, ",")) {
        int first = atoi(item), last = first;
        char *dash = strchr(item, '-');
        if (dash)
            last = atoi(dash + 1);
        for (int v = first; v <= last && v < 4096; v++) {
            if (flags)
                flags[v] = 1;
            if (list)
                list[n] = v;
            n++;
        }
    }
    return n;
}
#endif
