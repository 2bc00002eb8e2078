/* The socket extension of WasmEdge in both of its versions: WASMEDGE is 1 or 2.
 * Calls give 0 or an errno of WASI.
 *
 *   v1  an address is 4 or 16 bytes; accept has two parameters
 *   v2  an address is 128 bytes that begin with the family; accept has flags
 */
#ifndef WASMEDGE_H
#define WASMEDGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if WASMEDGE != 1 && WASMEDGE != 2
#error "WASMEDGE must be 1 or 2"
#endif

#define WE_IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

enum { WE_UNSPEC, WE_INET4, WE_INET6, WE_UNIX };
enum { WE_DATAGRAM = 1, WE_STREAM = 2 };
enum { WE_SHUT_READ = 1, WE_SHUT_WRITE = 2 };
enum {
  WE_REUSEADDR, WE_TYPE, WE_ERROR, WE_DONTROUTE, WE_BROADCAST, WE_SNDBUF, WE_RCVBUF, WE_KEEPALIVE, WE_OOBINLINE, WE_LINGER,
  WE_RCVLOWAT, WE_RCVTIMEO, WE_SNDTIMEO, WE_ACCEPTCONN, WE_BINDTODEVICE,
};

/* endpoint is an address as this program has it. */
struct endpoint {
  int family;
  uint16_t port;
  uint8_t ip[16]; /* 4 of them with WE_INET4 */
  char path[108]; /* with WE_UNIX */
};

/* What is passed: where an address is, and how long. */
struct we_buffer {
  void *at;
  uint32_t size;
};

struct we_vector {
  const void *at;
  uint32_t size;
};

WE_IMPORT(sock_open) uint32_t we_open(uint32_t family, uint32_t type, int *fd);
WE_IMPORT(sock_bind) uint32_t we_sock_bind(int fd, struct we_buffer *address, uint32_t port);
WE_IMPORT(sock_listen) uint32_t we_listen(int fd, uint32_t backlog);
WE_IMPORT(sock_connect) uint32_t we_sock_connect(int fd, struct we_buffer *address, uint32_t port);
WE_IMPORT(sock_recv) uint32_t we_sock_recv(int fd, struct we_vector *v, uint32_t n, uint32_t flags, uint32_t *got, uint32_t *out);
WE_IMPORT(sock_send) uint32_t we_sock_send(int fd, struct we_vector *v, uint32_t n, uint32_t flags, uint32_t *sent);
WE_IMPORT(sock_send_to)
uint32_t we_sock_send_to(int fd, struct we_vector *v, uint32_t n, struct we_buffer *address, uint32_t port, uint32_t flags, uint32_t *sent);
WE_IMPORT(sock_shutdown) uint32_t we_shutdown(int fd, uint32_t how);
WE_IMPORT(sock_getsockopt) uint32_t we_getsockopt(int fd, uint32_t level, uint32_t name, void *value, uint32_t *size);
WE_IMPORT(sock_setsockopt) uint32_t we_setsockopt(int fd, uint32_t level, uint32_t name, const void *value, uint32_t size);
#if WASMEDGE == 1
WE_IMPORT(sock_accept) uint32_t we_sock_accept(int fd, int *conn);
WE_IMPORT(sock_recv_from)
uint32_t we_sock_recv_from(int fd, struct we_vector *v, uint32_t n, struct we_buffer *address, uint32_t flags, uint32_t *got, uint32_t *out);
WE_IMPORT(sock_getlocaladdr) uint32_t we_sock_local(int fd, struct we_buffer *address, uint32_t *kind, uint32_t *port);
WE_IMPORT(sock_getpeeraddr) uint32_t we_sock_peer(int fd, struct we_buffer *address, uint32_t *kind, uint32_t *port);
#else
WE_IMPORT(sock_accept) uint32_t we_sock_accept(int fd, uint32_t flags, int *conn);
WE_IMPORT(sock_recv_from)
uint32_t we_sock_recv_from(int fd, struct we_vector *v, uint32_t n, struct we_buffer *address, uint32_t flags, uint16_t *port,
                           uint32_t *got, uint32_t *out);
WE_IMPORT(sock_getlocaladdr) uint32_t we_sock_local(int fd, struct we_buffer *address, uint32_t *port);
WE_IMPORT(sock_getpeeraddr) uint32_t we_sock_peer(int fd, struct we_buffer *address, uint32_t *port);
#endif

/* we_put fills a buffer with the address of e. */
static inline struct we_buffer we_put(uint8_t room[128], const struct endpoint *e) {
  size_t ip = e->family == WE_INET4 ? 4 : 16;
#if WASMEDGE == 1
  memcpy(room, e->ip, ip);
  return (struct we_buffer){room, ip};
#else
  memset(room, 0, 128);
  room[0] = e->family;
  if (e->family == WE_UNIX)
    memcpy(room + 2, e->path, sizeof e->path);
  else
    memcpy(room + 2, e->ip, ip);
  return (struct we_buffer){room, 128};
#endif
}

/* we_take reads what the host wrote into the room of 128 bytes. */
static inline void we_take(struct endpoint *e, const uint8_t room[128], uint32_t port) {
#if WASMEDGE == 1
  memcpy(e->ip, room, 16);
#else
  e->family = room[0];
  memcpy(e->ip, room + 2, 16);
  memcpy(e->path, room + 2, sizeof e->path);
  e->path[sizeof e->path - 1] = 0;
#endif
  e->port = port;
}

static inline uint32_t we_bind(int fd, const struct endpoint *e) {
  uint8_t room[128];
  struct we_buffer b = we_put(room, e);
  return we_sock_bind(fd, &b, e->port);
}

static inline uint32_t we_connect(int fd, const struct endpoint *e) {
  uint8_t room[128];
  struct we_buffer b = we_put(room, e);
  return we_sock_connect(fd, &b, e->port);
}

static inline uint32_t we_accept(int fd, int *conn) {
#if WASMEDGE == 1
  return we_sock_accept(fd, conn);
#else
  return we_sock_accept(fd, 0, conn);
#endif
}

/* we_end gives an address of a socket: its own, or the other end's. The first
 * version says 4 or 6 for the family. */
static inline uint32_t we_end(int fd, int peer, struct endpoint *e) {
  uint8_t room[128] = {0};
  uint32_t port = 0, errno_;
#if WASMEDGE == 1
  struct we_buffer b = {room, 16};
  uint32_t kind = 0;
  errno_ = peer ? we_sock_peer(fd, &b, &kind, &port) : we_sock_local(fd, &b, &kind, &port);
  e->family = kind == 4 ? WE_INET4 : WE_INET6;
#else
  struct we_buffer b = {room, 128};
  errno_ = peer ? we_sock_peer(fd, &b, &port) : we_sock_local(fd, &b, &port);
#endif
  we_take(e, room, port);
  return errno_;
}

static inline uint32_t we_recv(int fd, void *at, uint32_t size, uint32_t *got) {
  struct we_vector v = {at, size};
  uint32_t out = 0;
  return we_sock_recv(fd, &v, 1, 0, got, &out);
}

static inline uint32_t we_send(int fd, const void *at, uint32_t size, uint32_t *sent) {
  struct we_vector v = {at, size};
  return we_sock_send(fd, &v, 1, 0, sent);
}

/* we_recv_from receives a datagram. The first version tells no port, and no
 * family: it is that of the socket. */
static inline uint32_t we_recv_from(int fd, void *at, uint32_t size, uint32_t *got, struct endpoint *from) {
  uint8_t room[128] = {0};
  struct we_vector v = {at, size};
  uint32_t out = 0;
#if WASMEDGE == 1
  struct we_buffer b = {room, 16};
  uint32_t errno_ = we_sock_recv_from(fd, &v, 1, &b, 0, got, &out);
  we_take(from, room, 0);
#else
  struct we_buffer b = {room, 128};
  uint16_t port = 0;
  uint32_t errno_ = we_sock_recv_from(fd, &v, 1, &b, 0, &port, got, &out);
  we_take(from, room, port);
#endif
  return errno_;
}

static inline uint32_t we_send_to(int fd, const void *at, uint32_t size, uint32_t *sent, const struct endpoint *to) {
  uint8_t room[128];
  struct we_buffer b = we_put(room, to);
  struct we_vector v = {at, size};
  return we_sock_send_to(fd, &v, 1, &b, to->port, 0, sent);
}

/* Names. The caller makes the whole list, with room in every item. */
struct we_sockaddr {
  uint8_t family;
  uint32_t size;
  uint8_t *data; /* port in network order, then the address */
};

struct we_addrinfo {
  uint16_t flags;
  uint8_t family, type, protocol;
  uint32_t size;
  struct we_sockaddr *address;
  char *name;
  uint32_t name_size;
  struct we_addrinfo *next;
};

WE_IMPORT(sock_getaddrinfo)
uint32_t we_sock_getaddrinfo(const char *node, uint32_t node_size, const char *service, uint32_t service_size,
                             const struct we_addrinfo *hint, struct we_addrinfo **list, uint32_t most, uint32_t *n);

/* we_resolve finds at most 16 addresses of a name. */
static inline uint32_t we_resolve(const char *node, const char *service, int type, struct endpoint *found, uint32_t *n) {
  enum { most = 16, room = 26 };
  struct we_addrinfo items[most], *list = items, hint = {.type = type};
  struct we_sockaddr addresses[most];
  uint8_t data[most][room];
  memset(items, 0, sizeof items);
  for (int i = 0; i < most; i++) {
    addresses[i] = (struct we_sockaddr){0, room, data[i]};
    items[i].address = &addresses[i];
    items[i].next = i + 1 < most ? &items[i + 1] : NULL;
  }
  uint32_t errno_ = we_sock_getaddrinfo(node, strlen(node), service, strlen(service), &hint, &list, most, n);
  for (uint32_t i = 0; errno_ == 0 && i < *n; i++) {
    found[i].family = addresses[i].family;
    found[i].port = data[i][0] << 8 | data[i][1];
    memcpy(found[i].ip, data[i] + 2, 16);
  }
  return errno_;
}

#endif
