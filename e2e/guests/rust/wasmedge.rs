//! The socket extension of WasmEdge in both of its versions, by
//! `--cfg wasmedge="1"` or `"2"`.
//!
//! In v1 an address is 4 or 16 bytes and accept has two parameters; in v2 an
//! address is 128 bytes that begin with the family, and accept has flags.

use std::io;
use std::net::{IpAddr, SocketAddr};

const INET4: u8 = 1;
const INET6: u8 = 2;
pub const UNIX: u8 = 3;
pub const DATAGRAM: u8 = 1;
pub const STREAM: u8 = 2;

pub const SO_REUSEADDR: u32 = 0;
pub const SO_TYPE: u32 = 1;
pub const SO_SNDBUF: u32 = 5;
pub const SO_RCVTIMEO: u32 = 11;

#[repr(C)]
struct Buffer {
    at: *mut u8,
    size: usize,
}

#[repr(C)]
struct Sockaddr {
    family: u8,
    size: u32,
    data: *mut u8,
}

#[repr(C)]
struct Addrinfo {
    flags: u16,
    family: u8,
    kind: u8,
    protocol: u8,
    size: u32,
    address: *mut Sockaddr,
    name: *mut u8,
    name_size: u32,
    next: *mut Addrinfo,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn sock_open(family: u32, kind: u32, fd: *mut i32) -> u32;
    fn sock_bind(fd: i32, address: *const Buffer, port: u32) -> u32;
    fn sock_listen(fd: i32, backlog: u32) -> u32;
    fn sock_connect(fd: i32, address: *const Buffer, port: u32) -> u32;
    fn sock_recv(fd: i32, v: *const Buffer, n: u32, flags: u32, got: *mut u32, out: *mut u32) -> u32;
    fn sock_send(fd: i32, v: *const Buffer, n: u32, flags: u32, sent: *mut u32) -> u32;
    fn sock_send_to(fd: i32, v: *const Buffer, n: u32, to: *const Buffer, port: u32, flags: u32, sent: *mut u32) -> u32;
    fn sock_shutdown(fd: i32, how: u32) -> u32;
    fn sock_getsockopt(fd: i32, level: u32, name: u32, value: *mut u8, size: *mut u32) -> u32;
    fn sock_setsockopt(fd: i32, level: u32, name: u32, value: *const u8, size: u32) -> u32;
    #[allow(improper_ctypes)]
    fn sock_getaddrinfo(
        node: *const u8, node_size: usize, service: *const u8, service_size: usize, hint: *const Addrinfo,
        list: *mut *mut Addrinfo, most: u32, n: *mut u32,
    ) -> u32;
}

#[cfg(wasmedge = "1")]
#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn sock_accept(fd: i32, conn: *mut i32) -> u32;
    fn sock_recv_from(fd: i32, v: *const Buffer, n: u32, from: *mut Buffer, flags: u32, got: *mut u32, out: *mut u32) -> u32;
    fn sock_getlocaladdr(fd: i32, address: *mut Buffer, kind: *mut u32, port: *mut u32) -> u32;
    fn sock_getpeeraddr(fd: i32, address: *mut Buffer, kind: *mut u32, port: *mut u32) -> u32;
}

#[cfg(wasmedge = "2")]
#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn sock_accept(fd: i32, flags: u32, conn: *mut i32) -> u32;
    fn sock_recv_from(
        fd: i32, v: *const Buffer, n: u32, from: *mut Buffer, flags: u32, port: *mut u16, got: *mut u32, out: *mut u32,
    ) -> u32;
    fn sock_getlocaladdr(fd: i32, address: *mut Buffer, port: *mut u32) -> u32;
    fn sock_getpeeraddr(fd: i32, address: *mut Buffer, port: *mut u32) -> u32;
}

fn check(errno: u32) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        e => Err(io::Error::from_raw_os_error(e as i32)),
    }
}

fn family(a: &SocketAddr) -> u8 {
    if a.is_ipv4() { INET4 } else { INET6 }
}

/// The address as the host wants it, in a room of 128 bytes.
fn put(room: &mut [u8; 128], a: &SocketAddr) -> Buffer {
    let at = if cfg!(wasmedge = "2") { 2 } else { 0 };
    if at > 0 {
        room[0] = family(a);
    }
    let size = match a.ip() {
        IpAddr::V4(ip) => { room[at..at + 4].copy_from_slice(&ip.octets()); 4 }
        IpAddr::V6(ip) => { room[at..at + 16].copy_from_slice(&ip.octets()); 16 }
    };
    Buffer { at: room.as_mut_ptr(), size: if at > 0 { 128 } else { size } }
}

fn ip(family: u8, b: &[u8]) -> IpAddr {
    if family == INET4 {
        return <[u8; 4]>::try_from(&b[..4]).unwrap().into();
    }
    <[u8; 16]>::try_from(&b[..16]).unwrap().into()
}

/// A socket, which is closed when it is dropped.
pub struct Socket {
    pub fd: i32,
}

impl Drop for Socket {
    fn drop(&mut self) {
        use std::os::wasi::io::FromRawFd;
        drop(unsafe { std::fs::File::from_raw_fd(self.fd as u32 as _) });
    }
}

impl Socket {
    pub fn open(family: u8, kind: u8) -> io::Result<Socket> {
        let mut fd = -1;
        check(unsafe { sock_open(family.into(), kind.into(), &mut fd) })?;
        Ok(Socket { fd })
    }

    pub fn bound(a: &SocketAddr, kind: u8) -> io::Result<Socket> {
        let s = Socket::open(family(a), kind)?;
        s.set_option(SO_REUSEADDR, &1i32.to_le_bytes())?;
        check(unsafe { sock_bind(s.fd, &put(&mut [0; 128], a), a.port().into()) })?;
        Ok(s)
    }

    pub fn connected(a: &SocketAddr, kind: u8) -> io::Result<Socket> {
        let s = Socket::open(family(a), kind)?;
        check(unsafe { sock_connect(s.fd, &put(&mut [0; 128], a), a.port().into()) })?;
        Ok(s)
    }

    pub fn listen(&self, backlog: u32) -> io::Result<()> {
        check(unsafe { sock_listen(self.fd, backlog) })
    }

    pub fn accept(&self) -> io::Result<Socket> {
        let mut fd = -1;
        #[cfg(wasmedge = "1")]
        check(unsafe { sock_accept(self.fd, &mut fd) })?;
        #[cfg(wasmedge = "2")]
        check(unsafe { sock_accept(self.fd, 0, &mut fd) })?;
        Ok(Socket { fd })
    }

    pub fn recv(&self, b: &mut [u8]) -> io::Result<usize> {
        let (mut got, mut out) = (0, 0);
        let v = Buffer { at: b.as_mut_ptr(), size: b.len() };
        check(unsafe { sock_recv(self.fd, &v, 1, 0, &mut got, &mut out) })?;
        Ok(got as usize)
    }

    pub fn send(&self, b: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        let v = Buffer { at: b.as_ptr() as *mut u8, size: b.len() };
        check(unsafe { sock_send(self.fd, &v, 1, 0, &mut sent) })?;
        Ok(sent as usize)
    }

    pub fn send_all(&self, mut b: &[u8]) -> io::Result<()> {
        while !b.is_empty() {
            let n = self.send(b)?;
            b = &b[n..];
        }
        Ok(())
    }

    pub fn send_to(&self, b: &[u8], to: &SocketAddr) -> io::Result<usize> {
        let mut sent = 0;
        let v = Buffer { at: b.as_ptr() as *mut u8, size: b.len() };
        check(unsafe { sock_send_to(self.fd, &v, 1, &put(&mut [0; 128], to), to.port().into(), 0, &mut sent) })?;
        Ok(sent as usize)
    }

    /// The length of a datagram, and its sender with what the version tells
    /// of it: v1 has neither family nor port.
    pub fn recv_from(&self, b: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        let (mut got, mut out, mut room) = (0, 0, [0; 128]);
        let v = Buffer { at: b.as_mut_ptr(), size: b.len() };
        #[cfg(wasmedge = "1")]
        {
            let mut from = Buffer { at: room.as_mut_ptr(), size: 16 };
            check(unsafe { sock_recv_from(self.fd, &v, 1, &mut from, 0, &mut got, &mut out) })?;
            Ok((got as usize, None))
        }
        #[cfg(wasmedge = "2")]
        {
            let (mut from, mut port) = (Buffer { at: room.as_mut_ptr(), size: 128 }, 0);
            check(unsafe { sock_recv_from(self.fd, &v, 1, &mut from, 0, &mut port, &mut got, &mut out) })?;
            Ok((got as usize, Some((ip(room[0], &room[2..]), port).into())))
        }
    }

    pub fn shutdown_write(&self) -> io::Result<()> {
        check(unsafe { sock_shutdown(self.fd, 2) })
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        self.end(false)
    }

    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.end(true)
    }

    fn end(&self, peer: bool) -> io::Result<SocketAddr> {
        let (mut room, mut port) = ([0; 128], 0);
        #[cfg(wasmedge = "1")]
        {
            let (mut b, mut kind) = (Buffer { at: room.as_mut_ptr(), size: 16 }, 0);
            let get = if peer { sock_getpeeraddr } else { sock_getlocaladdr };
            check(unsafe { get(self.fd, &mut b, &mut kind, &mut port) })?;
            Ok((ip(if kind == 4 { INET4 } else { INET6 }, &room), port as u16).into())
        }
        #[cfg(wasmedge = "2")]
        {
            let mut b = Buffer { at: room.as_mut_ptr(), size: 128 };
            let get = if peer { sock_getpeeraddr } else { sock_getlocaladdr };
            check(unsafe { get(self.fd, &mut b, &mut port) })?;
            Ok((ip(room[0], &room[2..]), port as u16).into())
        }
    }

    pub fn option(&self, name: u32, value: &mut [u8]) -> io::Result<usize> {
        let mut size = value.len() as u32;
        check(unsafe { sock_getsockopt(self.fd, 0, name, value.as_mut_ptr(), &mut size) })?;
        Ok(size as usize)
    }

    pub fn set_option(&self, name: u32, value: &[u8]) -> io::Result<()> {
        check(unsafe { sock_setsockopt(self.fd, 0, name, value.as_ptr(), value.len() as u32) })
    }
}

/// The addresses of a name, at most 16.
pub fn resolve(node: &str, service: &str) -> io::Result<Vec<SocketAddr>> {
    const MOST: usize = 16;
    let mut data = [[0u8; 26]; MOST];
    let mut addresses: Vec<Sockaddr> =
        data.iter_mut().map(|d| Sockaddr { family: 0, size: 26, data: d.as_mut_ptr() }).collect();
    let new = |address, kind| Addrinfo {
        flags: 0, family: 0, kind, protocol: 0, size: 0, address, name: std::ptr::null_mut(), name_size: 0, next: std::ptr::null_mut(),
    };
    let hint = new(std::ptr::null_mut(), STREAM);
    let mut items: Vec<Addrinfo> = addresses.iter_mut().map(|a| new(a as *mut _, 0)).collect();
    for i in 1..MOST {
        items[i - 1].next = &mut items[i];
    }
    let (mut list, mut n) = (items.as_mut_ptr(), 0);
    check(unsafe {
        sock_getaddrinfo(node.as_ptr(), node.len(), service.as_ptr(), service.len(), &hint, &mut list, MOST as u32, &mut n)
    })?;
    Ok((0..n as usize).map(|i| (ip(addresses[i].family, &data[i][2..]), u16::from_be_bytes([data[i][0], data[i][1]])).into()).collect())
}
