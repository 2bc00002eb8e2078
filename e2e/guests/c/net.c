/* An HTTP server and client, and other users of sockets, over the socket
 * extension of WasmEdge in the version that WASMEDGE names.
 *
 *   net serve ADDRESS...    an HTTP server; prints "listening on ADDRESS" for each
 *   net get URL             prints the ends of the connection, the status, the body;
 *                           in v2 the URL may be unix:/PATH
 *   net put URL N           sends N bytes, ends that half, prints the body of the answer
 *   net udp ADDRESS         answers every datagram (of v1: prints it)
 *   net ask ADDRESS TEXT    sends a datagram and prints the answer
 *   net resolve NAME SERVICE
 *   net options             checks socket options
 *
 * An address is 0.0.0.0:80, [::1]:80 or, in v2, a path. The server answers / with
 * a greeting, /echo with the request's body, /count with its length and
 * /bytes?n=N with N bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "wasmedge.h"

enum { WASI_AGAIN = 6, WASI_INPROGRESS = 26 };

static void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  exit(1);
}

static void check(const char *what, uint32_t errno_) {
  if (errno_)
    die("%s: errno %u", what, errno_);
}

/* Addresses as text. */

static int parse_ip4(const char *s, uint8_t ip[4]) {
  unsigned a, b, c, d;
  char rest;
  if (sscanf(s, "%u.%u.%u.%u%c", &a, &b, &c, &d, &rest) != 4 || (a | b | c | d) > 255)
    return 0;
  ip[0] = a, ip[1] = b, ip[2] = c, ip[3] = d;
  return 1;
}

static int parse_ip6(const char *s, uint8_t ip[16]) {
  uint16_t part[8] = {0};
  int n = 0, gap = -1;
  if (s[0] == ':' && s[1] == ':')
    gap = 0, s += 2;
  while (*s && n < 8) {
    char *end;
    part[n++] = strtoul(s, &end, 16);
    if (end == s)
      return 0;
    s = end;
    if (*s == ':' && s[1] == ':')
      gap = n, s += 2;
    else if (*s == ':')
      s++;
  }
  if (*s || (gap < 0 && n != 8))
    return 0;
  for (int i = 0; i < 8; i++) {
    int from = gap < 0 || i < gap ? i : i - (8 - n);
    uint16_t v = gap >= 0 && i >= gap && i < gap + 8 - n ? 0 : part[from];
    ip[2 * i] = v >> 8, ip[2 * i + 1] = v;
  }
  return 1;
}

static struct endpoint parse(const char *text) {
  struct endpoint e = {0};
  char host[128];
  snprintf(host, sizeof host, "%s", text);
  char *colon = strrchr(host, ':');
  if (text[0] == '/') {
    e.family = WE_UNIX;
    snprintf(e.path, sizeof e.path, "%s", text);
    return e;
  }
  if (!colon)
    die("%s is no address", text);
  *colon = 0;
  e.port = atoi(colon + 1);
  size_t n = strlen(host);
  if (host[0] == '[' && host[n - 1] == ']') {
    host[n - 1] = 0;
    e.family = WE_INET6;
    if (!parse_ip6(host + 1, e.ip))
      die("%s is no address", text);
  } else {
    e.family = WE_INET4;
    if (!parse_ip4(host, e.ip))
      die("%s is no address", text);
  }
  return e;
}

static const char *show(const struct endpoint *e, char text[128]) {
  if (e->family == WE_UNIX)
    snprintf(text, 128, "%s", e->path);
  else if (e->family == WE_INET4)
    snprintf(text, 128, "%d.%d.%d.%d:%d", e->ip[0], e->ip[1], e->ip[2], e->ip[3], e->port);
  else {
    int n = snprintf(text, 128, "[");
    for (int i = 0; i < 16; i += 2)
      n += snprintf(text + n, 128 - n, i ? ":%x" : "%x", e->ip[i] << 8 | e->ip[i + 1]);
    snprintf(text + n, 128 - n, "]:%d", e->port);
  }
  return text;
}

static int listen_on(const struct endpoint *e, int type) {
  int fd, on = 1;
  char text[128];
  check("open", we_open(e->family, type, &fd));
  if (e->family != WE_UNIX)
    check("reuse the address", we_setsockopt(fd, 0, WE_REUSEADDR, &on, sizeof on));
  check("bind", we_bind(fd, e));
  if (type == WE_STREAM)
    check("listen", we_listen(fd, 128));
  printf("listening on %s\n", show(e, text));
  fflush(stdout);
  return fd;
}

static void set_nonblocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
    die("nonblocking: %d", errno);
}

/* The server: one loop over all connections. A connection is read only while
 * nothing waits to be sent, so that its buffers bound what it needs. */

enum { room = 64 << 10, most_connections = 256 };

struct connection {
  int fd;
  char in[8192];
  size_t have;            /* of in */
  long long body;         /* of the request, still to come */
  long long counted;      /* of it, so far */
  enum { NONE, ECHO, COUNT } mode;
  int close_after, ended; /* the client has sent its last byte */
  char *out;
  size_t from, to;        /* of out */
  long long zeroes;       /* still to be sent after it */
};

static struct connection connections[most_connections];
static struct pollfd polls[most_connections + 8];

static void answer(struct connection *c, const char *format, ...) {
  va_list args;
  va_start(args, format);
  c->to += vsnprintf(c->out + c->to, room - c->to, format, args);
  va_end(args);
}

static void respond(struct connection *c, const char *text) {
  answer(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
}

static const char *header(const char *head, const char *name) {
  size_t n = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
    if (!strncasecmp(line + 2, name, n) && line[2 + n] == ':')
      return line + 3 + n + strspn(line + 3 + n, " ");
  return NULL;
}

/* request takes a whole head out of what was read; 0 when it is not there yet. */
static int request(struct connection *c) {
  char head[sizeof c->in + 1], text[256], path[128] = "";
  memcpy(head, c->in, c->have);
  head[c->have] = 0;
  char *end = strstr(head, "\r\n\r\n");
  if (!end)
    return 0;
  end[2] = 0;
  size_t used = end + 4 - head;
  memmove(c->in, c->in + used, c->have -= used);
  sscanf(head, "%*15s %127s", path);
  const char *size = header(head, "content-length"), *close = header(head, "connection"), *expect = header(head, "expect");
  c->close_after = close && !strncasecmp(close, "close", 5);
  c->body = size ? atoll(size) : 0, c->counted = 0, c->mode = NONE;
  if (expect)
    answer(c, "HTTP/1.1 100 Continue\r\n\r\n");
  if (!strcmp(path, "/echo")) {
    c->mode = ECHO;
    answer(c, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", c->body);
  } else if (!strcmp(path, "/count")) {
    c->mode = COUNT;
  } else if (!strncmp(path, "/bytes?n=", 9)) {
    c->zeroes = atoll(path + 9);
    answer(c, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", c->zeroes);
  } else {
    snprintf(text, sizeof text, "hello %s from c\n", path);
    respond(c, text);
  }
  return 1;
}

/* consume handles what was read until it must wait for more, or for room. */
static void consume(struct connection *c) {
  while (c->to == c->from && !c->zeroes) {
    c->from = c->to = 0;
    if (c->mode == NONE && c->body == 0) {
      if (!request(c))
        return;
      if (c->body)
        continue;
    }
    size_t part = (long long)c->have < c->body ? (long long)c->have : c->body;
    if (c->mode == ECHO) {
      memcpy(c->out + c->to, c->in, part);
      c->to += part;
    }
    memmove(c->in, c->in + part, c->have -= part);
    c->counted += part;
    c->body -= part;
    if (c->body && part == 0)
      return;
    if (c->body)
      continue;
    if (c->mode == COUNT) {
      char text[32];
      snprintf(text, sizeof text, "%lld\n", c->counted);
      respond(c, text);
    }
    c->mode = NONE;
  }
}

static void drop(struct connection *c) {
  close(c->fd);
  free(c->out);
  memset(c, 0, sizeof *c);
  c->fd = -1;
}

/* flush sends what waits; 0 when the connection is over. */
static int flush(struct connection *c) {
  static const char zeroes[room];
  for (;;) {
    const char *at = c->out + c->from;
    size_t n = c->to - c->from;
    if (n == 0 && c->zeroes)
      at = zeroes, n = c->zeroes < room ? c->zeroes : room;
    if (n == 0)
      return !c->close_after || c->mode != NONE || c->body;
    uint32_t sent = 0, errno_ = we_send(c->fd, at, n, &sent);
    if (errno_ == WASI_AGAIN)
      return 1;
    if (errno_)
      return 0;
    if (c->to > c->from)
      c->from += sent;
    else
      c->zeroes -= sent;
  }
}

/* serve_one moves a connection on; 0 when it is over. */
static int serve_one(struct connection *c) {
  for (;;) {
    if (!flush(c))
      return 0;
    if (c->to > c->from || c->zeroes)
      return 1;
    consume(c);
    if (c->to > c->from || c->zeroes)
      continue;
    if (c->ended)
      return 0;
    uint32_t got = 0, errno_ = we_recv(c->fd, c->in + c->have, sizeof c->in - c->have, &got);
    if (errno_ == WASI_AGAIN)
      return 1;
    if (errno_)
      return 0;
    c->ended = got == 0;
    c->have += got;
  }
}

static void accept_all(int listener) {
  for (;;) {
    int fd;
    uint32_t errno_ = we_accept(listener, &fd);
    if (errno_ == WASI_AGAIN)
      return;
    check("accept", errno_);
    set_nonblocking(fd);
    struct connection *c = connections;
    while (c < connections + most_connections && c->fd >= 0)
      c++;
    if (c == connections + most_connections)
      die("too many connections");
    c->fd = fd;
    c->out = malloc(room);
  }
}

static void serve(char **addresses) {
  int listeners = 0;
  for (; *addresses; addresses++) {
    struct endpoint e = parse(*addresses);
    polls[listeners].fd = listen_on(&e, WE_STREAM);
    polls[listeners].events = POLLIN;
    set_nonblocking(polls[listeners++].fd);
  }
  for (int i = 0; i < most_connections; i++)
    connections[i].fd = -1;
  for (;;) {
    struct connection *of[most_connections];
    int n = listeners;
    for (struct connection *c = connections; c < connections + most_connections; c++) {
      if (c->fd < 0)
        continue;
      of[n - listeners] = c;
      polls[n].fd = c->fd;
      polls[n++].events = c->to > c->from || c->zeroes ? POLLOUT : POLLIN;
    }
    if (poll(polls, n, -1) < 0)
      die("poll: %d", errno);
    for (int i = listeners; i < n; i++)
      if (polls[i].revents && !serve_one(of[i - listeners]))
        drop(of[i - listeners]);
    for (int i = 0; i < listeners; i++)
      if (polls[i].revents)
        accept_all(polls[i].fd);
  }
}

/* The client. */

static int connect_to(const char *host, char *where) {
  char name[128], text[128];
  struct endpoint found[16], e;
  uint32_t n = 0, errno_ = 1;
  int fd = -1;
  if (host[0] == '/') {
    e = parse(host);
    check("open", we_open(e.family, WE_STREAM, &fd));
    check("connect", we_connect(fd, &e));
    check("peer address", we_end(fd, 1, &e));
    sprintf(where, "to %s", show(&e, text));
    return fd;
  }
  snprintf(name, sizeof name, "%s", host);
  char *colon = strrchr(name, ':'), *port = "80";
  if (colon && colon[-1] != ':' && !strchr(colon, ']'))
    *colon = 0, port = colon + 1;
  if (name[0] == '[') {
    name[strlen(name) - 1] = 0;
    memmove(name, name + 1, strlen(name));
  }
  check(name, we_resolve(name, port, WE_STREAM, found, &n));
  for (uint32_t i = 0; i < n && errno_; i++) {
    check("open", we_open(found[i].family, WE_STREAM, &fd));
    if ((errno_ = we_connect(fd, &found[i])))
      close(fd);
  }
  check("connect", errno_);
  check("local address", we_end(fd, 0, &e));
  int len = sprintf(where, "from %s", show(&e, text));
  check("peer address", we_end(fd, 1, &e));
  sprintf(where + len, " to %s", show(&e, text));
  return fd;
}

static void send_all(int fd, const char *at, size_t n) {
  while (n) {
    uint32_t sent = 0;
    check("send", we_send(fd, at, n, &sent));
    at += sent, n -= sent;
  }
}

/* print_answer prints status and body; a long body as its length. */
static void print_answer(int fd) {
  static char buf[room + 1];
  size_t have = 0;
  long long total = 0;
  int in_body = 0;
  for (uint32_t got = 1; got;) {
    check("receive", we_recv(fd, buf + have, room - have, &got));
    have += got;
    buf[have] = 0;
    char *end;
    if (!in_body) {
      if (!(end = strstr(buf, "\r\n\r\n")))
        continue;
      *strstr(buf, "\r\n") = 0;
      printf("%s\n", buf);
      size_t head = end + 4 - buf;
      memmove(buf, end + 4, have -= head);
      in_body = 1;
    }
    if (got && total == 0 && have < 4096)
      continue;
    if (total == 0 && !got)
      fwrite(buf, 1, have, stdout);
    total += have;
    have = 0;
  }
  printf("body of %lld bytes\n", total);
}

static const char *split_url(const char *url, char host[128]) {
  if (!strncmp(url, "unix:", 5)) {
    snprintf(host, 128, "%s", url + 5);
    return "/";
  }
  if (!strncmp(url, "http://", 7))
    url += 7;
  size_t n = strcspn(url, "/");
  snprintf(host, 128, "%.*s", (int)n, url);
  return url[n] ? url + n : "/";
}

static void get(const char *url) {
  char host[128], head[512], where[300];
  const char *path = split_url(url, host);
  int fd = connect_to(host, where);
  printf("%s\n", where);
  int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
  send_all(fd, head, n);
  print_answer(fd);
}

static void put(const char *url, long long size) {
  static char block[room];
  char host[128], head[512], where[300];
  const char *path = split_url(url, host);
  int fd = connect_to(host, where);
  int n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %lld\r\n\r\n", path, host, size);
  send_all(fd, head, n);
  for (; size > 0; size -= sizeof block)
    send_all(fd, block, size < (long long)sizeof block ? size : (long long)sizeof block);
  check("shutdown", we_shutdown(fd, WE_SHUT_WRITE));
  print_answer(fd);
}

/* Datagrams. */

static void udp(const char *address) {
  static char buf[room];
  struct endpoint e = parse(address), from = e;
  int fd = listen_on(&e, WE_DATAGRAM);
  for (;;) {
    uint32_t n = 0;
    check("receive", we_recv_from(fd, buf, sizeof buf, &n, &from));
    char text[128];
    printf("%u bytes from %s\n", n, show(&from, text));
    fflush(stdout);
    if (WASMEDGE == 2) /* v1 does not tell where to answer */
      check("answer", we_send_to(fd, buf, n, &n, &from));
  }
}

static void ask(const char *address, const char *text) {
  static char buf[room];
  struct endpoint e = parse(address), from = e;
  int fd;
  uint32_t n = 0;
  check("open", we_open(e.family, WE_DATAGRAM, &fd));
  check("send", we_send_to(fd, text, strlen(text), &n, &e));
  check("receive", we_recv_from(fd, buf, sizeof buf, &n, &from));
  printf("%.*s\n", (int)n, buf);
}

static void resolve(const char *node, const char *service) {
  struct endpoint found[16];
  uint32_t n = 0;
  char text[128];
  check(node, we_resolve(node, service, WE_STREAM, found, &n));
  for (uint32_t i = 0; i < n; i++)
    printf("%s\n", show(&found[i], text));
}

static int option(int fd, int name) {
  int value = -1;
  uint32_t size = sizeof value;
  check("getsockopt", we_getsockopt(fd, 0, name, &value, &size));
  if (size != sizeof value)
    die("option %d has %u bytes", name, size);
  return value;
}

static void options(void) {
  int fd, datagram, on = 1, size = 100000;
  check("open", we_open(WE_INET4, WE_STREAM, &fd));
  check("open", we_open(WE_INET4, WE_DATAGRAM, &datagram));
  if (option(fd, WE_TYPE) != WE_STREAM || option(datagram, WE_TYPE) != WE_DATAGRAM)
    die("types are %d and %d", option(fd, WE_TYPE), option(datagram, WE_TYPE));
  for (int name = WE_REUSEADDR; name <= WE_KEEPALIVE; name++) {
    if (name != WE_REUSEADDR && name != WE_KEEPALIVE && name != WE_BROADCAST && name != WE_DONTROUTE)
      continue;
    check("setsockopt", we_setsockopt(fd, 0, name, &on, sizeof on));
    if (option(fd, name) != 1)
      die("option %d was set and is %d", name, option(fd, name));
  }
  check("setsockopt", we_setsockopt(fd, 0, WE_SNDBUF, &size, sizeof size));
  check("setsockopt", we_setsockopt(fd, 0, WE_RCVBUF, &size, sizeof size));
  if (option(fd, WE_SNDBUF) < size || option(fd, WE_RCVBUF) < size)
    die("buffers are %d and %d", option(fd, WE_SNDBUF), option(fd, WE_RCVBUF));
  int linger[2] = {1, 7}, got[2] = {0};
  uint32_t n = sizeof got;
  check("setsockopt", we_setsockopt(fd, 0, WE_LINGER, linger, sizeof linger));
  check("getsockopt", we_getsockopt(fd, 0, WE_LINGER, got, &n));
  if (got[0] != 1 || got[1] != 7)
    die("linger is %d, %d", got[0], got[1]);
  struct {
    int64_t seconds, micros;
  } wait = {0, 50000}, now = {0};
  n = sizeof now;
  check("setsockopt", we_setsockopt(datagram, 0, WE_RCVTIMEO, &wait, sizeof wait));
  check("getsockopt", we_getsockopt(datagram, 0, WE_RCVTIMEO, &now, &n));
  if (now.seconds != 0 || now.micros < 50000 || now.micros > 60000)
    die("timeout is %lld, %lld", now.seconds, now.micros);
  struct endpoint any = {.family = WE_INET4, .ip = {127, 0, 0, 1}}, from;
  check("bind", we_bind(datagram, &any));
  char c;
  uint32_t errno_ = we_recv_from(datagram, &c, 1, &n, &from);
  if (errno_ != WASI_AGAIN)
    die("receive with a timeout: errno %u", errno_);
  any.port = 1;
  if ((errno_ = we_connect(fd, &any)) == 0)
    die("a connection to a closed port");
  if (option(fd, WE_ACCEPTCONN) != 0)
    die("it accepts connections");
  if (!we_setsockopt(fd, 0, 99, &on, sizeof on) || !we_setsockopt(0, 0, WE_KEEPALIVE, &on, sizeof on))
    die("an option that is not there was set");
  printf("options: ok\n");
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  if (argc >= 3 && !strcmp(what, "serve"))
    serve(argv + 2);
  else if (argc == 3 && !strcmp(what, "get"))
    get(argv[2]);
  else if (argc == 4 && !strcmp(what, "put"))
    put(argv[2], atoll(argv[3]));
  else if (argc == 3 && !strcmp(what, "udp"))
    udp(argv[2]);
  else if (argc == 4 && !strcmp(what, "ask"))
    ask(argv[2], argv[3]);
  else if (argc == 4 && !strcmp(what, "resolve"))
    resolve(argv[2], argv[3]);
  else if (argc == 2 && !strcmp(what, "options"))
    options();
  else
    die("usage: net serve ADDRESS... | get URL | put URL N | udp ADDRESS | ask ADDRESS TEXT | resolve NAME SERVICE | options");
  return 0;
}
