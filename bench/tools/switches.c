/* switches - N emulated OpenFlow 1.0/1.3 switches that emit 802.1Q-tagged packet-ins and check the answers.
 *
 * Each switch has a bounded number of hosts (-M), each with a MAC address and a VLAN of its own, so that the
 * flow tables behind the answers stay as finite as with real hosts. At most one packet-in per host is
 * outstanding, hence an answer's source MAC says which packet-in it belongs to. */
#include "of.h"

#define MAX_PIDS 64
#define MAX_SAMPLES 8000000u
enum state { OFF, CONNECTING, GREETED, READY };
enum wanted { ANY_ANSWER, FLOW_MODS, PACKET_OUTS };

struct host { uint64_t sent_at; int vlan; uint8_t busy; uint32_t before, after; };

struct switch_ {
    int fd, id, outstanding, armed_for_write;
    uint32_t next_host, sequence;
    uint64_t dpid, retry_at;
    enum state state;
    struct buffer in, out;
    struct host *hosts; /* one more than there are: its neighbours are the first and the last packet-in outstanding */
    uint8_t *answered; /* per VLAN of the list: a correct answer has come */
};

struct counters {
    uint64_t answers, flow_mods, packet_outs, cross, wild, lost, late, without_actions, unmatched, errors, disconnects;
};

static struct switch_ *switches;
static int n_switches = 1, version = 1, window = 64, latency_mode, n_ports = 4, frame_size = 68, verbose;
static int n_hosts = 1024, n_vlans, vlans[4096], n_ready, poller, runs = 1, measuring, recording;
static double seconds = 5, warm_up = 1, patience = 20, rate, noise_rate;
static int noise_vlan;
static uint64_t stall_ns = 1000000000ull, started;
static enum wanted wanted = ANY_ANSWER;
static const char *host = "127.0.0.1";
static int port = 6653, pids[MAX_PIDS], n_pids, peers[MAX_PIDS], n_peers;
static uint64_t first_dpid = 1;
static struct counters count;
static uint32_t *samples; /* units of 10 ns */
static uint64_t n_samples;
static uint8_t template[2048];
static int template_size, frame_offset;
static volatile sig_atomic_t stopping;

static void on_signal(int number) { (void)number; stopping = 1; }

/* --- packet-ins ------------------------------------------------------------------------------------------- */

static void make_template(void)
{
    frame_offset = version == 1 ? 18 : 42;
    template_size = frame_offset + frame_size;
    put_header(template, version, PACKET_IN, template_size, 0);
    put32(template + 8, NO_BUFFER);
    put16(template + 12, frame_size);
    if (version == 1) {
        put16(template + 14, 1);
    } else {
        put16(template + 24, 1);
        put16(template + 26, 12);
        put32(template + 28, OXM_IN_PORT);
        put32(template + 32, 1);
    }
    uint8_t *frame = template + frame_offset, *ip = frame + 18;
    static const uint8_t dst[6] = {0x0e, 0, 0, 0, 0, 1};
    memcpy(frame, dst, 6);
    put16(frame + 12, 0x8100);
    put16(frame + 16, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, frame_size - 18);
    ip[8] = 64;
    ip[9] = 17;
    put32(ip + 12, 0x0a000001);
    put32(ip + 16, 0x0a000002);
    put16(ip + 20, 1000);
    put16(ip + 22, 2000);
    put16(ip + 24, frame_size - 38);
}

static void link_last(struct switch_ *s, uint32_t index)
{
    struct host *h = &s->hosts[index], *end = &s->hosts[n_hosts];
    h->before = end->before;
    h->after = n_hosts;
    s->hosts[end->before].after = index;
    end->before = index;
    h->busy = 1;
    s->outstanding++;
}

static void unlink_host(struct switch_ *s, uint32_t index)
{
    struct host *h = &s->hosts[index];
    s->hosts[h->before].after = h->after;
    s->hosts[h->after].before = h->before;
    h->busy = 0;
    s->outstanding--;
}

static void send_packet_in(struct switch_ *s, uint64_t now)
{
    while (s->hosts[s->next_host].busy)
        s->next_host = (s->next_host + 1) % n_hosts;
    uint32_t index = s->next_host;
    struct host *h = &s->hosts[index];
    s->next_host = (index + 1) % n_hosts;
    uint8_t *p = room(&s->out, template_size);
    memcpy(p, template, template_size);
    s->out.end += template_size;
    put32(p + 4, ++s->sequence);
    uint8_t *src = p + frame_offset + 6;
    src[0] = 0x02;
    put16(src + 1, s->id);
    src[3] = index >> 16;
    src[4] = index >> 8;
    src[5] = index;
    put16(p + frame_offset + 14, h->vlan);
    h->sent_at = now;
    link_last(s, index);
}

static void refill(struct switch_ *s, uint64_t now)
{
    if (s->state != READY || !recording || rate > 0)
        return;
    while (s->outstanding < (latency_mode ? 1 : window))
        send_packet_in(s, now);
}

/* Those sent before that moment are lost; of a run, those that were sent in it. */
static void give_up(struct switch_ *s, uint64_t before)
{
    for (uint32_t first; (first = s->hosts[n_hosts].after) < (uint32_t)n_hosts && s->hosts[first].sent_at < before;) {
        unlink_host(s, first);
        count.lost += s->hosts[first].sent_at >= started;
    }
}

/* --- answers ---------------------------------------------------------------------------------------------- */

/* vlan: what the answer says it is about (0 untagged, -1 nothing said); src: its source address, or NULL */
static void on_answer(struct switch_ *s, int vlan, const uint8_t *src, enum wanted kind, uint64_t now)
{
    if (kind == FLOW_MODS)
        count.flow_mods++;
    else
        count.packet_outs++;
    if (wanted != ANY_ANSWER && wanted != kind)
        return;
    if (!src || src[0] != 0x02) {
        count.unmatched++;
        return;
    }
    uint32_t index = src[3] << 16 | src[4] << 8 | src[5];
    if (get16(src + 1) != s->id || index >= (uint32_t)n_hosts) {
        count.cross++;
        if (verbose)
            fprintf(stderr, "cross: an answer for switch %d reached switch %d\n", get16(src + 1), s->id);
        return;
    }
    struct host *h = &s->hosts[index];
    if (vlan < 0) {
        count.wild++;
    } else if (vlan != h->vlan) {
        count.cross++;
        if (verbose)
            fprintf(stderr, "cross: sent VLAN %d, the answer says VLAN %d\n", h->vlan, vlan);
        return;
    }
    s->answered[(index + s->id) % n_vlans] = 1;
    if (!h->busy) {
        count.late++;
        return;
    }
    unlink_host(s, index);
    count.answers++;
    if (measuring && h->sent_at >= started && n_samples < MAX_SAMPLES) {
        uint64_t ticks = (now - h->sent_at) / 10;
        samples[n_samples++] = ticks > UINT32_MAX ? UINT32_MAX : ticks;
    }
}

/* Walks 1.0 actions; returns the VLAN frames leave with, counts outputs. */
static int walk_actions_10(const uint8_t *p, const uint8_t *end, int vlan, int *outputs)
{
    for (int length; p + 8 <= end; p += length) {
        int type = get16(p);
        length = get16(p + 2);
        if (length < 8)
            break;
        if (type == 1)
            vlan = get16(p + 4);
        else if (type == 3)
            vlan = 0;
        else if (type == 0 || type == 11)
            ++*outputs;
    }
    return vlan;
}

/* The same for 1.3. */
static int walk_actions_13(const uint8_t *p, const uint8_t *end, int vlan, int *outputs)
{
    for (int length; p + 8 <= end; p += length) {
        int type = get16(p);
        length = get16(p + 2);
        if (length < 8)
            break;
        if (type == 18)
            vlan = 0;
        else if (type == 25 && get32(p + 4) == OXM_VLAN_VID)
            vlan = get16(p + 8) & 0xfff;
        else if (type == 0 || type == 22)
            ++*outputs;
    }
    return vlan;
}

static void on_flow_mod_10(struct switch_ *s, const uint8_t *m, int length, uint64_t now)
{
    if (length < 72 || get16(m + 56) >= 3) /* deletions are housekeeping */
        return;
    uint32_t wildcards = get32(m + 8);
    int vlan = wildcards >> 1 & 1 ? -1 : get16(m + 26), outputs = 0;
    if (vlan == 0xffff)
        vlan = 0;
    if (vlan >= 0 && get16(m + 58) && get16(m + 58) != vlan) {
        count.cross++; /* the controller answered another VLAN's packet-in */
        return;
    }
    vlan = walk_actions_10(m + 72, m + length, vlan, &outputs);
    if (!outputs)
        count.without_actions++;
    else
        on_answer(s, vlan, wildcards >> 2 & 1 ? NULL : m + 14, FLOW_MODS, now);
}

static void on_flow_mod_13(struct switch_ *s, const uint8_t *m, int length, uint64_t now)
{
    if (length < 56 || m[25] >= 3)
        return;
    int match = get16(m + 50), vlan = -1, outputs = 0;
    const uint8_t *src = NULL, *p = m + 48 + (match + 7) / 8 * 8;
    for (int o = 52; o + 4 <= 48 + match; o += 4 + m[o + 3]) {
        if (get32(m + o) == OXM_VLAN_VID)
            vlan = get16(m + o + 4) & 0x1000 ? get16(m + o + 4) & 0xfff : 0;
        else if (get32(m + o) == OXM_ETH_SRC)
            src = m + o + 4;
    }
    if (vlan >= 0 && get16(m + 26) && get16(m + 26) != vlan) {
        count.cross++;
        return;
    }
    for (int size; p + 8 <= m + length; p += size) {
        size = get16(p + 2);
        if (size < 8)
            break;
        if (get16(p) == 3 || get16(p) == 4)
            vlan = walk_actions_13(p + 8, p + size, vlan, &outputs);
    }
    if (!outputs)
        count.without_actions++;
    else
        on_answer(s, vlan, src, FLOW_MODS, now);
}

static void on_packet_out(struct switch_ *s, const uint8_t *m, int length, uint64_t now)
{
    int head = version == 1 ? 16 : 24, actions = length < head ? 0 : get16(m + head - (version == 1 ? 2 : 8)), outputs = 0;
    if (length < head || head + actions > length)
        return;
    struct frame f = read_frame(m + head + actions, length - head - actions);
    if (f.vlan < 0 || f.ethertype == 0x88cc)
        return;
    int vlan = version == 1 ? walk_actions_10(m + head, m + head + actions, f.vlan, &outputs)
                            : walk_actions_13(m + head, m + head + actions, f.vlan, &outputs);
    if (!outputs)
        count.without_actions++;
    else
        on_answer(s, vlan, f.src, PACKET_OUTS, now);
}

/* --- the rest of being a switch --------------------------------------------------------------------------- */

static void describe_port(struct switch_ *s, uint8_t *p, int number)
{
    uint8_t mac[6] = {0x06, 0, s->id >> 8, s->id, 0, number};
    int at = version == 1 ? 2 : 8;
    if (version == 1)
        put16(p, number);
    else
        put32(p, number);
    memcpy(p + at, mac, 6);
    snprintf((char *)p + (version == 1 ? 8 : 16), 16, "p%d", number);
}

static uint8_t *begin(struct switch_ *s, int type, int length, uint32_t xid)
{
    uint8_t *p = append(&s->out, length);
    put_header(p, version, type, length, xid);
    return p;
}

static void send_error(struct switch_ *s, const uint8_t *m, int length, int type, int code)
{
    int kept = length > 64 ? 64 : length;
    uint8_t *p = begin(s, ERROR_MSG, 12 + kept, get32(m + 4));
    put16(p + 8, type);
    put16(p + 10, code);
    memcpy(p + 12, m, kept);
}

static void send_features(struct switch_ *s, uint32_t xid)
{
    uint8_t *p = begin(s, FEATURES_REPLY, version == 1 ? 32 + 48 * n_ports : 32, xid);
    put64(p + 8, s->dpid);
    put32(p + 16, 256);
    p[20] = version == 1 ? 1 : 2;
    put32(p + 24, version == 1 ? 0xc7 : 0x4f);
    if (version == 1) {
        put32(p + 28, 0xfff);
        for (int i = 0; i < n_ports; i++)
            describe_port(s, p + 32 + 48 * i, i + 1);
    }
    if (s->state != READY) {
        s->state = READY;
        n_ready++;
    }
}

static void send_stats(struct switch_ *s, const uint8_t *m, int length)
{
    int type = get16(m + 8), head = version == 1 ? 12 : 16, body = 0;
    if (type == 0)
        body = 1056;
    else if (type == 2)
        body = 24;
    else if (type == 13 && version == 4)
        body = 64 * n_ports;
    else if (type == 8 && version == 4)
        body = 40;
    else if (type == 11 && version == 4)
        body = 16;
    else if (type > (version == 1 ? 5 : 13)) {
        send_error(s, m, length, 1, 2);
        return;
    }
    uint8_t *p = begin(s, STATS_REPLY(version), head + body, get32(m + 4));
    put16(p + 8, type);
    if (type == 0)
        snprintf((char *)p + head, 256, "vmoc bench switch %d", s->id);
    for (int i = 0; type == 13 && i < n_ports; i++)
        describe_port(s, p + head + 64 * i, i + 1);
}

static void on_message(struct switch_ *s, const uint8_t *m, int length, uint64_t now)
{
    uint32_t xid = get32(m + 4);
    int type = m[1];
    if (m[0] != version && type != HELLO) {
        count.errors++;
        return;
    }
    if (type == FLOW_MOD && version == 1)
        on_flow_mod_10(s, m, length, now);
    else if (type == FLOW_MOD)
        on_flow_mod_13(s, m, length, now);
    else if (type == PACKET_OUT)
        on_packet_out(s, m, length, now);
    else if (type == ECHO_REQUEST)
        memcpy(begin(s, ECHO_REPLY, length, xid) + 8, m + 8, length - 8);
    else if (type == FEATURES_REQUEST)
        send_features(s, xid);
    else if (type == GET_CONFIG_REQUEST)
        put16(begin(s, GET_CONFIG_REPLY, 12, xid) + 10, 0xffff);
    else if (type == BARRIER_REQUEST(version))
        begin(s, BARRIER_REPLY(version), 8, xid);
    else if (type == STATS_REQUEST(version) && length >= 12)
        send_stats(s, m, length);
    else if (type == QUEUE_REQUEST(version) && length >= 12)
        memcpy(begin(s, QUEUE_REPLY(version), 16, xid) + 8, m + 8, 4);
    else if (version == 4 && type == ROLE_REQUEST && length == 24)
        memcpy(begin(s, ROLE_REPLY, 24, xid) + 8, m + 8, 16);
    else if (version == 4 && type == GET_ASYNC_REQUEST)
        begin(s, GET_ASYNC_REPLY, 32, xid);
    else if (type == EXPERIMENTER)
        send_error(s, m, length, 1, 3);
    else if (type == ERROR_MSG) {
        count.errors++;
        if (verbose && length >= 12)
            fprintf(stderr, "switch %d: error type %d code %d\n", s->id, get16(m + 8), get16(m + 10));
    } else if (type > 28) {
        send_error(s, m, length, 1, 1);
    }
}

/* --- connections ------------------------------------------------------------------------------------------ */

static void arm(struct switch_ *s, int operation)
{
    int writing = pending(&s->out) > 0 || s->state == CONNECTING;
    if (operation == EPOLL_CTL_MOD && writing == s->armed_for_write)
        return;
    s->armed_for_write = writing;
    struct epoll_event e = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = s};
    epoll_ctl(poller, operation, s->fd, &e);
}

static void disconnect(struct switch_ *s, uint64_t now)
{
    if (s->fd >= 0)
        close(s->fd);
    if (s->state >= GREETED)
        count.disconnects++;
    if (s->state == READY)
        n_ready--;
    give_up(s, UINT64_MAX);
    s->fd = -1;
    s->state = OFF;
    s->in.start = s->in.end = s->out.start = s->out.end = 0;
    s->retry_at = now + 200000000ull;
}

static void dial(struct switch_ *s, uint64_t now)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0) {
        perror("switches: socket");
        exit(1);
    }
    set_socket(s->fd);
    s->state = CONNECTING;
    if (connect(s->fd, (void *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        disconnect(s, now);
    else
        arm(s, EPOLL_CTL_ADD);
}

static void serve(struct switch_ *s, uint32_t events, uint64_t now)
{
    int length, broken = 0;
    const uint8_t *m;
    if (s->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            disconnect(s, now);
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        s->state = GREETED;
        begin(s, HELLO, 8, 1);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (fill(&s->in, s->fd) < 0) {
            disconnect(s, now);
            return;
        }
        now = now_ns();
        while ((m = next_message(&s->in, &length, &broken)))
            on_message(s, m, length, now);
    }
    refill(s, now);
    if (broken || flush(&s->out, s->fd) < 0)
        disconnect(s, now);
    else
        arm(s, EPOLL_CTL_MOD);
}

static void housekeeping(uint64_t now)
{
    for (int i = 0; i < n_switches; i++) {
        struct switch_ *s = &switches[i];
        if (s->state == OFF && now >= s->retry_at) {
            dial(s, now);
        } else if (s->state == READY) {
            give_up(s, now - stall_ns);
            refill(s, now);
            if (flush(&s->out, s->fd) < 0)
                disconnect(s, now);
            else
                arm(s, EPOLL_CTL_MOD);
        }
    }
}

static void paced(uint64_t now)
{
    static double credit;
    static uint64_t last;
    static int turn;
    credit += last ? (now - last) / 1e9 * rate : 0;
    last = now;
    if (credit > rate * 0.05 + 1)
        credit = rate * 0.05 + 1;
    for (int skipped = 0; credit >= 1 && skipped < n_switches && recording; turn = (turn + 1) % n_switches) {
        struct switch_ *s = &switches[turn];
        if (s->state != READY || s->outstanding >= window) {
            skipped++;
            continue;
        }
        skipped = 0;
        credit -= 1;
        send_packet_in(s, now);
        if (flush(&s->out, s->fd) < 0)
            disconnect(s, now);
        else
            arm(s, EPOLL_CTL_MOD);
    }
}

/* Packet-ins of one more VLAN that nobody counts, from ever new addresses; their sources begin with 0x06. They wait
   for the switch's other output, as a switch has one connection for all of it, until send_noise. */
static void make_noise(uint64_t now)
{
    static double credit;
    static uint64_t last;
    static uint32_t number;
    credit += last ? (now - last) / 1e9 * noise_rate : 0;
    last = now;
    if (credit > noise_rate * 0.05 + 1)
        credit = noise_rate * 0.05 + 1;
    for (; credit >= 1; credit -= 1) {
        struct switch_ *s = &switches[++number % n_switches];
        if (s->state != READY || pending(&s->out) > 262144)
            continue;
        uint8_t *p = append(&s->out, template_size), *src = p + frame_offset + 6;
        memcpy(p, template, template_size);
        src[0] = 0x06;
        put16(src + 1, s->id);
        src[3] = number >> 16;
        src[4] = number >> 8;
        src[5] = number;
        put16(p + frame_offset + 14, noise_vlan);
    }
}

static void send_noise(uint64_t now)
{
    for (int i = 0; i < n_switches; i++) {
        struct switch_ *s = &switches[i];
        if (s->state != READY)
            continue;
        if (flush(&s->out, s->fd) < 0)
            disconnect(s, now);
        else
            arm(s, EPOLL_CTL_MOD);
    }
}

static void spin(uint64_t until)
{
    static uint64_t last_housekeeping;
    while (!stopping) {
        uint64_t now = now_ns();
        if (now >= until)
            return;
        uint64_t pause = until - now < 5000000 ? until - now : 5000000;
        if (rate > 0 && pause > 1e9 / rate)
            pause = 1e9 / rate;
        if (noise_rate > 0 && pause > 1000000)
            pause = 1000000;
        struct timespec timeout = {0, pause};
        struct epoll_event events[256];
        int n = epoll_pwait2(poller, events, 256, &timeout, NULL);
        now = now_ns();
        if (noise_rate > 0 && recording)
            make_noise(now);
        for (int i = 0; i < n; i++) {
            struct switch_ *s = events[i].data.ptr;
            if (s->fd >= 0)
                serve(s, events[i].events, now);
        }
        if (now - last_housekeeping > 2000000) {
            last_housekeeping = now;
            housekeeping(now);
        }
        if (rate > 0)
            paced(now);
        if (noise_rate > 0 && recording)
            send_noise(now);
    }
}

/* --- measuring -------------------------------------------------------------------------------------------- */

static double cpu_of(int pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    char *after = strrchr(text, ')');
    if (after)
        sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* what processes share counts once */
static double resident_mb_of(int pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Pss: %ld", &kib) == 1)
            break;
    fclose(f);
    return kib * 1024 / 1e6;
}

/* CPU seconds the whole machine has spent on anything */
static double machine_cpu(void)
{
    unsigned long long user = 0, nice = 0, system = 0, idle, wait, irq = 0, soft = 0, stolen = 0;
    FILE *f = fopen("/proc/stat", "r");
    if (!f)
        return 0;
    if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &soft,
               &stolen) != 8)
        user = 0;
    fclose(f);
    return (user + nice + system + irq + soft + stolen) / (double)sysconf(_SC_CLK_TCK);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double fraction)
{
    return n_samples ? samples[(uint64_t)((n_samples - 1) * fraction)] / 100.0 : 0;
}

/* What is still outstanding at the end of a run is answered late, or lost. */
static void drain(void)
{
    uint64_t end = now_ns() + stall_ns;
    int outstanding = 1;
    recording = 0;
    while (!stopping && outstanding && now_ns() < end) {
        spin(now_ns() + 2000000);
        outstanding = 0;
        for (int i = 0; i < n_switches; i++)
            outstanding += switches[i].outstanding;
    }
    for (int i = 0; i < n_switches; i++)
        give_up(&switches[i], UINT64_MAX);
    recording = 1;
}

static void measure(int last)
{
    double cpu_before = 0, cpu_after = 0, peers_before = 0, peers_after = 0, memory = 0;
    for (int i = 0; i < n_pids; i++)
        cpu_before += cpu_of(pids[i]);
    for (int i = 0; i < n_peers; i++)
        peers_before += cpu_of(peers[i]);
    double own_before = own_cpu(), machine_before = machine_cpu();
    memset(&count, 0, sizeof count);
    n_samples = 0;
    measuring = 1;
    started = now_ns();
    spin(started + (uint64_t)(seconds * 1e9));
    double elapsed = (now_ns() - started) / 1e9;
    measuring = 0;
    struct counters c = count;
    for (int i = 0; i < n_pids; i++) {
        cpu_after += cpu_of(pids[i]);
        memory += resident_mb_of(pids[i]);
    }
    for (int i = 0; i < n_peers; i++)
        peers_after += cpu_of(peers[i]);
    double own = own_cpu() - own_before, used = cpu_after - cpu_before, peer = peers_after - peers_before;
    double others = machine_cpu() - machine_before - own - used - peer;
    drain();
    c.lost = count.lost;
    c.cross = count.cross;
    c.wild = count.wild;
    qsort(samples, n_samples, sizeof *samples, by_value);
    printf("{\"seconds\": %.3f, \"answers\": %llu, \"per_second\": %.0f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.0f, ", elapsed, (unsigned long long)c.answers, c.answers / elapsed,
           percentile(.5), percentile(.9), percentile(.99), percentile(.999), percentile(1));
    printf("\"cross\": %llu, \"wild\": %llu, \"lost\": %llu, \"late\": %llu, \"unmatched\": %llu, \"errors\": %llu, "
           "\"disconnects\": %llu, ", (unsigned long long)c.cross, (unsigned long long)c.wild, (unsigned long long)c.lost,
           (unsigned long long)c.late, (unsigned long long)c.unmatched, (unsigned long long)c.errors,
           (unsigned long long)c.disconnects);
    printf("\"tool_cpu\": %.2f, \"peer_cpu\": %.2f, \"cpu\": %.2f, \"cpu_us_per_answer\": %.2f, \"resident_mb\": %.1f, "
           "\"other_cpu\": %.2f}%s", own / elapsed, peer / elapsed, used / elapsed,
           c.answers ? used * 1e6 / c.answers : 0, memory, others > 0 ? others / elapsed : 0, last ? "" : ", ");
    fflush(stdout);
}

static int silent(void)
{
    int n = 0;
    for (int i = 0; i < n_switches; i++)
        for (int v = 0; v < n_vlans; v++)
            n += !switches[i].answered[v];
    return n;
}

static void usage(void)
{
    fputs("switches -p PORT [options]    emulated OpenFlow switches with tagged packet-ins; prints one JSON object\n"
          "  -c HOST  (127.0.0.1)   -p PORT (6653)   where the controller or VMOC listens\n"
          "  -n N     switches (1)  -o DPID  first datapath id (1)   -P N  ports per switch (4)\n"
          "  -v 1|4   OpenFlow 1.0 (default) or 1.3\n"
          "  -l LIST  VLANs, such as 101,102 or 100-199 (101,102)   -M N  hosts (source MACs) per switch (1024)\n"
          "  -m t|l   throughput with -w packet-ins outstanding per switch (64), or latency with one\n"
          "  -q RATE  paced: that many packet-ins per second in all\n"
          "  -F VLAN:RATE  noise: that many packet-ins per second of one more VLAN, which nobody counts\n"
          "  -t SECS  per run (5)   -r RUNS (1)   -W SECS  warm-up once every VLAN answers (1)   -H SECS  patience (20)\n"
          "  -R any|fm|po  what counts as the answer (any)   -T MS  then an unanswered packet-in is lost (1000)\n"
          "  -s BYTES frame size with its tag (68)\n"
          "  -k PID   add that process's CPU and memory (repeatable)   -K PID  its CPU is the load's own (repeatable)\n"
          "  -C CPU   run on that CPU only   -V  errors to standard error\n", stderr);
    exit(2);
}

static void read_options(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "c:p:n:o:P:v:l:M:m:w:q:t:r:W:H:R:T:s:k:K:C:F:Vh")) != -1) {
        switch (option) {
        case 'c': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'n': n_switches = atoi(optarg); break;
        case 'o': first_dpid = strtoull(optarg, NULL, 0); break;
        case 'P': n_ports = atoi(optarg); break;
        case 'v': version = atoi(optarg); break;
        case 'l': n_vlans = read_vlans(optarg, NULL, vlans); break;
        case 'M': n_hosts = atoi(optarg); break;
        case 'm': latency_mode = *optarg == 'l'; break;
        case 'w': window = atoi(optarg); break;
        case 'q': rate = atof(optarg); break;
        case 'F':
            if (sscanf(optarg, "%d:%lf", &noise_vlan, &noise_rate) != 2)
                usage();
            break;
        case 't': seconds = atof(optarg); break;
        case 'r': runs = atoi(optarg); break;
        case 'W': warm_up = atof(optarg); break;
        case 'H': patience = atof(optarg); break;
        case 'R': wanted = !strcmp(optarg, "fm") ? FLOW_MODS : !strcmp(optarg, "po") ? PACKET_OUTS : ANY_ANSWER; break;
        case 'T': stall_ns = atoi(optarg) * 1000000ull; break;
        case 's': frame_size = atoi(optarg); break;
        case 'k': if (n_pids < MAX_PIDS) pids[n_pids++] = atoi(optarg); break;
        case 'K': if (n_peers < MAX_PIDS) peers[n_peers++] = atoi(optarg); break;
        case 'C': run_on(atoi(optarg)); break;
        case 'V': verbose = 1; break;
        default: usage();
        }
    }
    if ((version != 1 && version != 4) || n_switches < 1 || n_switches > 65535)
        usage();
    if (!n_vlans) {
        vlans[n_vlans++] = 101;
        vlans[n_vlans++] = 102;
    }
    if (n_hosts < n_vlans)
        n_hosts = n_vlans; /* every VLAN needs a host */
    if (window > n_hosts)
        window = n_hosts;
    frame_size = frame_size < 64 ? 64 : frame_size > 1500 ? 1500 : frame_size;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    allow_many_files();
    go_first();
    poller = epoll_create1(0);
    make_template();
    samples = malloc(MAX_SAMPLES * sizeof *samples);
    switches = calloc(n_switches, sizeof *switches);
    uint64_t begun = now_ns();
    for (int i = 0; i < n_switches; i++) {
        struct switch_ *s = &switches[i];
        s->fd = -1;
        s->id = i + 1;
        s->dpid = first_dpid + i;
        s->hosts = calloc(n_hosts + 1, sizeof *s->hosts);
        s->hosts[n_hosts].before = s->hosts[n_hosts].after = n_hosts;
        s->answered = calloc(n_vlans, 1);
        for (int h = 0; h < n_hosts; h++)
            s->hosts[h].vlan = vlans[(h + s->id) % n_vlans];
        dial(s, begun);
    }
    uint64_t deadline = begun + (uint64_t)(patience * 1e9), stall = stall_ns;
    while (!stopping && n_ready < n_switches && now_ns() < deadline)
        spin(now_ns() + 2000000);
    double handshake = (now_ns() - begun) / 1e9;
    if (!n_ready) {
        fprintf(stderr, "switches: no handshake with %s:%d within %.0f s\n", host, port, patience);
        return 1;
    }
    stall_ns = 200000000ull; /* until all are connected, what is sent for an absent controller is lost */
    recording = 1;
    while (!stopping && silent() && now_ns() < deadline)
        spin(now_ns() + 2000000);
    double all_answering = (now_ns() - begun) / 1e9;
    stall_ns = stall;
    uint64_t cross = count.cross, wild = count.wild;
    memset(&count, 0, sizeof count);
    spin(now_ns() + (uint64_t)(warm_up * 1e9));
    cross += count.cross;
    wild += count.wild;
    printf("{\"version\": \"%s\", \"switches\": %d, \"ready\": %d, \"mode\": \"%s\", \"window\": %d, \"rate\": %.0f, \"vlans\": %d, "
           "\"hosts\": %d, \"handshake_s\": %.3f, \"all_answering_s\": %.3f, \"silent\": %d, \"early_cross\": %llu, "
           "\"early_wild\": %llu, \"runs\": [", version == 1 ? "1.0" : "1.3", n_switches, n_ready,
           rate > 0 ? "paced" : latency_mode ? "latency" : "throughput", latency_mode ? 1 : window, rate, n_vlans, n_hosts,
           handshake, all_answering, silent(), (unsigned long long)cross, (unsigned long long)wild);
    for (int i = 0; i < runs && !stopping; i++) {
        spin(now_ns() + 50000000ull); /* drains what waited while the last run's samples were sorted */
        measure(i + 1 == runs);
    }
    puts("]}");
    return 0;
}
