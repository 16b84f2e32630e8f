/* controllers - an OpenFlow 1.0/1.3 controller as fast as one can be: it answers every packet-in with a
 * flow-mod or a packet-out and counts packet-ins of VLANs that are not its own. One process may listen on
 * several ports, one per slice. */
#include "of.h"

#define MAX_PORTS 1024
enum answer { ANSWER_FLOW_MOD, ANSWER_PACKET_OUT, ANSWER_NOTHING };

struct listener {
    int fd, port, connections, any_vlan;
    uint8_t vlans[4096];
    uint64_t packet_ins, foreign, errors;
};

struct connection {
    int fd, greeted, said_hello, armed_for_write;
    uint64_t since;
    struct listener *listener;
    struct connection *next_fresh;
    struct buffer in, out;
};

static struct listener *listeners[MAX_PORTS];
static int n_listeners, poller, max_version = 4, out_port = 2, verbose;
static enum answer answer = ANSWER_FLOW_MOD;
static struct connection *fresh; /* whose peer has not said HELLO yet */
static volatile sig_atomic_t stopping;

static void on_signal(int number) { (void)number; stopping = 1; }

static void arm(struct connection *c)
{
    int wanted = pending(&c->out) > 0;
    if (wanted == c->armed_for_write)
        return;
    c->armed_for_write = wanted;
    struct epoll_event e = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void drop(struct connection *c)
{
    epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    c->fd = -1;
    c->listener->connections--;
    free(c->in.data);
    free(c->out.data);
    memset(&c->in, 0, sizeof c->in);
    memset(&c->out, 0, sizeof c->out);
}

/* --- answers; idle_timeout of a flow-mod is the VLAN of the packet-in, which `switches` checks ------------- */

static void flow_mod_10(struct connection *c, uint32_t xid, int in_port, const struct frame *f)
{
    uint8_t *p = append(&c->out, 80);
    put_header(p, 1, FLOW_MOD, 80, xid);
    put32(p + 8, 0x3fffff & ~(1u | 1u << 1 | 1u << 2 | 1u << 3)); /* in_port, dl_vlan, dl_src, dl_dst */
    put16(p + 12, in_port);
    memcpy(p + 14, f->src, 6);
    memcpy(p + 20, f->dst, 6);
    put16(p + 26, f->vlan ? f->vlan : 0xffff);
    put64(p + 48, (uint64_t)c->listener->port << 16 | f->vlan); /* cookie */
    put16(p + 58, f->vlan);                                     /* idle_timeout */
    put16(p + 62, 0x8000);                                      /* priority */
    put32(p + 64, NO_BUFFER);
    put16(p + 68, 0xffff);
    put16(p + 74, 8); /* OUTPUT */
    put16(p + 76, out_port);
}

static void flow_mod_13(struct connection *c, uint32_t xid, uint32_t in_port, const struct frame *f)
{
    const int match = 4 + 8 + 10 + 10 + 6, padded = (match + 7) / 8 * 8, length = 48 + padded + 8 + 16;
    uint8_t *p = append(&c->out, length);
    put_header(p, 4, FLOW_MOD, length, xid);
    put64(p + 8, (uint64_t)c->listener->port << 16 | f->vlan); /* cookie */
    put16(p + 26, f->vlan);                                    /* idle_timeout */
    put16(p + 30, 0x8000);                                     /* priority */
    put32(p + 32, NO_BUFFER);
    put32(p + 36, 0xffffffff);
    put32(p + 40, 0xffffffff);
    uint8_t *m = p + 48;
    put16(m, 1);
    put16(m + 2, match);
    put32(m + 4, OXM_IN_PORT);
    put32(m + 8, in_port);
    put32(m + 12, OXM_ETH_DST);
    memcpy(m + 16, f->dst, 6);
    put32(m + 22, OXM_ETH_SRC);
    memcpy(m + 26, f->src, 6);
    put32(m + 32, OXM_VLAN_VID);
    put16(m + 36, f->vlan ? 0x1000 | f->vlan : 0);
    uint8_t *i = m + padded;
    put16(i, 4); /* APPLY_ACTIONS */
    put16(i + 2, 24);
    put16(i + 10, 16); /* OUTPUT */
    put32(i + 12, out_port);
}

static void packet_out(struct connection *c, int version, uint32_t xid, uint32_t in_port, const uint8_t *data, int length)
{
    int head = version == 1 ? 24 : 40;
    uint8_t *p = append(&c->out, head);
    put_header(p, version, PACKET_OUT, head + length, xid);
    put32(p + 8, NO_BUFFER);
    if (version == 1) {
        put16(p + 12, in_port);
        put16(p + 14, 8);
        put16(p + 18, 8);
        put16(p + 20, out_port);
    } else {
        put32(p + 12, in_port);
        put16(p + 16, 16);
        put16(p + 26, 16);
        put32(p + 28, out_port);
    }
    append_copy(&c->out, data, length);
}

static void on_packet_in(struct connection *c, const uint8_t *m, int length)
{
    int version = m[0], offset = 18;
    uint32_t in_port = 0;
    if (length < (version == 1 ? 18 : 34))
        return;
    if (version == 1) {
        in_port = get16(m + 14);
    } else {
        int match = get16(m + 26);
        offset = 24 + (match + 7) / 8 * 8 + 2;
        if (offset > length)
            return;
        for (int o = 28; o + 4 <= 24 + match; o += 4 + m[o + 3])
            if (get32(m + o) == OXM_IN_PORT)
                in_port = get32(m + o + 4);
    }
    struct frame f = read_frame(m + offset, length - offset);
    if (f.vlan < 0 || f.ethertype == 0x88cc)
        return;
    c->listener->packet_ins++;
    if (!c->listener->any_vlan && !c->listener->vlans[f.vlan])
        c->listener->foreign++;
    if (answer == ANSWER_FLOW_MOD && version == 1)
        flow_mod_10(c, get32(m + 4), in_port, &f);
    else if (answer == ANSWER_FLOW_MOD)
        flow_mod_13(c, get32(m + 4), in_port, &f);
    else if (answer == ANSWER_PACKET_OUT)
        packet_out(c, version, get32(m + 4), in_port, m + offset, length - offset);
}

static void say_hello(struct connection *c, int version)
{
    c->said_hello = 1;
    put_header(append(&c->out, 8), version, HELLO, 8, 1);
}

static void on_hello(struct connection *c, int theirs)
{
    if (c->greeted)
        return;
    c->greeted = 1;
    int version = theirs < 4 || max_version < 4 ? 1 : 4;
    if (!c->said_hello)
        say_hello(c, version);
    put_header(append(&c->out, 8), version, FEATURES_REQUEST, 8, 2);
    uint8_t *p = append(&c->out, 12);
    put_header(p, version, SET_CONFIG, 12, 3);
    put16(p + 10, 0xffff);
    int size = version == 1 ? 12 : 16; /* DESC, and in 1.3 PORT_DESC, as real controllers ask */
    put_header(append(&c->out, size), version, STATS_REQUEST(version), size, 4);
    if (version == 4) {
        p = append(&c->out, 16);
        put_header(p, 4, STATS_REQUEST(4), 16, 5);
        put16(p + 8, 13);
    }
}

static void on_message(struct connection *c, const uint8_t *m, int length)
{
    switch (m[1]) {
    case HELLO:
        on_hello(c, m[0]);
        break;
    case ECHO_REQUEST:
        append_copy(&c->out, m, length);
        c->out.data[c->out.end - length + 1] = ECHO_REPLY;
        break;
    case ERROR_MSG:
        c->listener->errors++;
        if (verbose && length >= 12)
            fprintf(stderr, "port %d: error type %d code %d\n", c->listener->port, get16(m + 8), get16(m + 10));
        break;
    case PACKET_IN:
        on_packet_in(c, m, length);
        break;
    }
}

/* --- sockets ---------------------------------------------------------------------------------------------- */

static void open_listener(struct listener *l)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(l->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    socklen_t size = sizeof a;
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l->fd, (void *)&a, sizeof a) || listen(l->fd, 1024)) {
        fprintf(stderr, "controllers: port %d: %s\n", l->port, strerror(errno));
        exit(1);
    }
    getsockname(l->fd, (void *)&a, &size);
    l->port = ntohs(a.sin_port);
    fcntl(l->fd, F_SETFL, O_NONBLOCK);
}

static void accept_all(struct listener *l)
{
    int fd;
    while ((fd = accept(l->fd, NULL, NULL)) >= 0) {
        set_socket(fd);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->listener = l;
        c->since = now_ns();
        c->next_fresh = fresh;
        fresh = c;
        l->connections++;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

/* The peer's HELLO tells which version it wants, so we let it speak first, but not for ever. */
static void greet_the_silent(void)
{
    for (struct connection **at = &fresh; *at;) {
        struct connection *c = *at;
        if (c->fd >= 0 && !c->greeted && !c->said_hello) {
            if (now_ns() - c->since < 200000000ull) {
                at = &c->next_fresh;
                continue;
            }
            say_hello(c, max_version);
            flush(&c->out, c->fd);
            arm(c);
        }
        *at = c->next_fresh;
    }
}

static void serve(struct connection *c, uint32_t events)
{
    int length, broken = 0;
    const uint8_t *m;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (fill(&c->in, c->fd) < 0) {
            drop(c);
            return;
        }
        while ((m = next_message(&c->in, &length, &broken)))
            on_message(c, m, length);
    }
    if (broken || flush(&c->out, c->fd) < 0)
        drop(c);
    else
        arm(c);
}

static void usage(void)
{
    fputs("controllers -p PORT[:VLANS] [-p ...]    answers packet-ins as fast as possible until SIGTERM\n"
          "  -p PORT[:VLANS]  listen on 127.0.0.1:PORT (0: any free one); packet-ins of other VLANs count as foreign\n"
          "  -a fm|po|none    answer with a flow-mod (default), a packet-out, or not at all\n"
          "  -v 1|4           highest OpenFlow version (4)     -O PORT  output port of the answers (2)\n"
          "  -C CPU           run on that CPU only             -V  errors to standard error\n"
          "The ports are printed on the first line, a JSON line with the counters at the end.\n", stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "p:a:O:v:C:Vh")) != -1) {
        switch (option) {
        case 'p': {
            struct listener *l = calloc(1, sizeof *l);
            char *colon = strchr(optarg, ':');
            if (n_listeners >= MAX_PORTS)
                usage();
            l->port = atoi(optarg);
            l->any_vlan = colon == NULL;
            if (colon)
                read_vlans(colon + 1, l->vlans, NULL);
            listeners[n_listeners++] = l;
            break;
        }
        case 'a':
            answer = !strcmp(optarg, "po") ? ANSWER_PACKET_OUT : !strcmp(optarg, "none") ? ANSWER_NOTHING : ANSWER_FLOW_MOD;
            break;
        case 'O': out_port = atoi(optarg); break;
        case 'v': max_version = atoi(optarg); break;
        case 'C': run_on(atoi(optarg)); break;
        case 'V': verbose = 1; break;
        default: usage();
        }
    }
    if (!n_listeners)
        usage();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    allow_many_files();
    go_first();
    poller = epoll_create1(0);
    for (int i = 0; i < n_listeners; i++) {
        open_listener(listeners[i]);
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = 1ull << 63 | i};
        epoll_ctl(poller, EPOLL_CTL_ADD, listeners[i]->fd, &e);
        printf("%d%c", listeners[i]->port, i + 1 < n_listeners ? ' ' : '\n');
    }
    fflush(stdout);
    while (!stopping) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, fresh ? 50 : 1000);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 >> 63)
                accept_all(listeners[events[i].data.u64 & 0xffffffff]);
            else if (((struct connection *)events[i].data.ptr)->fd >= 0)
                serve(events[i].data.ptr, events[i].events);
        }
        greet_the_silent();
    }
    uint64_t packet_ins = 0, foreign = 0, errors = 0;
    for (int i = 0; i < n_listeners; i++) {
        packet_ins += listeners[i]->packet_ins;
        foreign += listeners[i]->foreign;
        errors += listeners[i]->errors;
    }
    printf("{\"packet_ins\": %llu, \"foreign\": %llu, \"errors\": %llu, \"cpu_s\": %.2f}\n", (unsigned long long)packet_ins,
           (unsigned long long)foreign, (unsigned long long)errors, own_cpu());
    return foreign ? 3 : 0;
}
