//! An HTTP server and client, and other users of sockets, over the socket
//! extension of WasmEdge.
//!
//!   net serve ADDRESS...    an HTTP server; prints "listening on ADDRESS" for each
//!   net get URL             prints the ends of the connection, the status, the body
//!   net put URL N           sends N bytes, ends that half, prints the body of the answer
//!   net udp ADDRESS         answers every datagram (v1: prints it)
//!   net ask ADDRESS TEXT    sends a datagram and prints the answer
//!   net resolve NAME SERVICE
//!   net options             checks socket options
//!
//! The server answers / with a greeting, /echo with the request's body, /count
//! with its length and /bytes?n=N with N bytes.

mod wasmedge;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use wasmedge::{resolve, Socket, DATAGRAM, STREAM};

const ROOM: usize = 64 << 10;
static ZEROES: [u8; ROOM] = [0; ROOM];

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

const POLLIN: i16 = 1;
const POLLOUT: i16 = 2;
const F_SETFL: i32 = 4;
const O_NONBLOCK: i32 = 4;

extern "C" {
    fn poll(fds: *mut PollFd, n: usize, timeout: i32) -> i32;
    fn fcntl(fd: i32, command: i32, ...) -> i32;
}

fn set_nonblocking(s: &Socket) -> io::Result<()> {
    match unsafe { fcntl(s.fd, F_SETFL, O_NONBLOCK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a connection does with the body of its request.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Drain,
    Echo,
    Count,
}

/// A connection is read only while nothing waits to be sent, so that its
/// buffers bound what it needs.
struct Connection {
    socket: Socket,
    input: Vec<u8>,
    body: u64, // of the request, still to come
    counted: u64,
    mode: Mode,
    busy: bool, // with a request
    close_after: bool,
    ended: bool, // the client has sent its last byte
    out: Vec<u8>,
    sent: usize, // of out
    zeroes: u64, // to be sent after it
}

impl Connection {
    fn new(socket: Socket) -> Connection {
        Connection {
            socket, input: vec![], body: 0, counted: 0, mode: Mode::Drain, busy: false, close_after: false, ended: false,
            out: vec![], sent: 0, zeroes: 0,
        }
    }

    fn waiting(&self) -> bool {
        self.sent < self.out.len() || self.zeroes > 0
    }

    fn respond(&mut self, text: &str) {
        self.out.extend_from_slice(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", text.len(), text).as_bytes());
    }

    /// Takes a whole head out of what was read; false when it is not there yet.
    fn request(&mut self) -> bool {
        let end = match self.input.windows(4).position(|w| w == b"\r\n\r\n") {
            Some(end) => end,
            None => return false,
        };
        let rest = self.input.split_off(end + 4);
        let head = String::from_utf8_lossy(&std::mem::replace(&mut self.input, rest)).into_owned();
        let path = head.split(' ').nth(1).unwrap_or("/").to_string();
        let header = |name: &str| {
            head.lines().filter_map(|l| l.split_once(": ")).find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_string())
        };
        self.close_after = header("connection").map_or(false, |v| v.eq_ignore_ascii_case("close"));
        self.body = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        self.counted = 0;
        self.busy = true;
        self.mode = Mode::Drain;
        if header("expect").is_some() {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if path == "/echo" {
            self.mode = Mode::Echo;
            self.out.extend_from_slice(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", self.body).as_bytes());
        } else if path == "/count" {
            self.mode = Mode::Count;
        } else if let Some(n) = path.strip_prefix("/bytes?n=") {
            self.zeroes = n.parse().unwrap_or(0);
            self.out.extend_from_slice(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", self.zeroes).as_bytes());
        } else {
            self.respond(&format!("hello {} from rust\n", path));
        }
        true
    }

    /// Handles what was read until it must wait for more, or for room.
    fn consume(&mut self) {
        while !self.waiting() {
            self.out.clear();
            self.sent = 0;
            if !self.busy && !self.request() {
                return;
            }
            let part = self.body.min(self.input.len() as u64) as usize;
            let rest = self.input.split_off(part);
            let body = std::mem::replace(&mut self.input, rest);
            if self.mode == Mode::Echo {
                self.out.extend_from_slice(&body);
            }
            self.counted += part as u64;
            self.body -= part as u64;
            if self.body > 0 && part == 0 {
                return;
            }
            if self.body > 0 {
                continue;
            }
            if self.mode == Mode::Count {
                self.respond(&format!("{}\n", self.counted));
            }
            self.busy = false;
        }
    }

    /// Sends what waits; false when the connection is over.
    fn flush(&mut self) -> io::Result<bool> {
        while self.waiting() {
            let out = &self.out[self.sent..];
            let n = if out.is_empty() { self.socket.send(&ZEROES[..ROOM.min(self.zeroes as usize)])? } else { self.socket.send(out)? };
            if out.is_empty() {
                self.zeroes -= n as u64;
            } else {
                self.sent += n;
            }
        }
        Ok(!self.close_after || self.busy)
    }

    /// Moves on until it must wait; false when the connection is over.
    fn step(&mut self, room: &mut [u8]) -> io::Result<bool> {
        loop {
            if !self.flush()? {
                return Ok(false);
            }
            self.consume();
            if self.waiting() {
                continue;
            }
            if self.ended {
                return Ok(false);
            }
            let n = self.socket.recv(room)?;
            self.ended = n == 0;
            self.input.extend_from_slice(&room[..n]);
        }
    }

    fn serve(&mut self, room: &mut [u8]) -> bool {
        match self.step(room) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => true,
            Err(_) => false,
            Ok(on) => on,
        }
    }
}

fn listen_on(address: &str, kind: u8) -> io::Result<Socket> {
    let a: SocketAddr = address.parse().map_err(|_| io::Error::new(ErrorKind::InvalidInput, format!("{} is no address", address)))?;
    let s = Socket::bound(&a, kind)?;
    if kind == STREAM {
        s.listen(128)?;
    }
    println!("listening on {}", s.local()?);
    Ok(s)
}

fn serve(addresses: &[String]) -> io::Result<()> {
    let mut listeners = vec![];
    for a in addresses {
        let l = listen_on(a, STREAM)?;
        set_nonblocking(&l)?;
        listeners.push(l);
    }
    let mut room = vec![0; ROOM];
    let mut connections: Vec<Connection> = vec![];
    loop {
        let mut fds: Vec<PollFd> = listeners.iter().map(|l| PollFd { fd: l.fd, events: POLLIN, revents: 0 }).collect();
        fds.extend(connections.iter().map(|c| PollFd { fd: c.socket.fd, events: if c.waiting() { POLLOUT } else { POLLIN }, revents: 0 }));
        if unsafe { poll(fds.as_mut_ptr(), fds.len(), -1) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut ready = fds[listeners.len()..].iter().map(|f| f.revents != 0);
        connections.retain_mut(|c| !ready.next().unwrap() || c.serve(&mut room));
        for (l, f) in listeners.iter().zip(&fds) {
            while f.revents != 0 {
                match l.accept() {
                    Ok(s) => {
                        set_nonblocking(&s)?;
                        connections.push(Connection::new(s));
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
    }
}

/// Connects to the host of a URL, and gives the path as well.
fn connect_to(url: &str) -> io::Result<(Socket, String, String)> {
    let url = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::new(ErrorKind::NotFound, "no address");
    for a in resolve(name, port)? {
        match Socket::connected(&a, STREAM) {
            Ok(s) => return Ok((s, host.to_string(), format!("/{}", path))),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Prints status and body; a long body as its length.
fn print_answer(s: &Socket) -> io::Result<()> {
    let (mut room, mut start, mut total, mut head) = (vec![0; ROOM], vec![], 0, None);
    loop {
        let n = s.recv(&mut room)?;
        if n == 0 {
            break;
        }
        total += n;
        if start.len() < 8192 {
            start.extend_from_slice(&room[..n]);
        }
        if head.is_none() {
            head = start.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        }
    }
    let head = head.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "no answer"))?;
    println!("{}", String::from_utf8_lossy(&start).lines().next().unwrap());
    if total - head < 4096 {
        print!("{}", String::from_utf8_lossy(&start[head..]));
    }
    println!("body of {} bytes", total - head);
    Ok(())
}

fn get(url: &str) -> io::Result<()> {
    let (s, host, path) = connect_to(url)?;
    println!("from {} to {}", s.local()?, s.peer()?);
    s.send_all(format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", path, host).as_bytes())?;
    print_answer(&s)
}

fn put(url: &str, mut size: usize) -> io::Result<()> {
    let (s, host, path) = connect_to(url)?;
    s.send_all(format!("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", path, host, size).as_bytes())?;
    while size > 0 {
        let n = size.min(ROOM);
        s.send_all(&ZEROES[..n])?;
        size -= n;
    }
    s.shutdown_write()?;
    print_answer(&s)
}

fn udp(address: &str) -> io::Result<()> {
    let s = listen_on(address, DATAGRAM)?;
    let mut room = vec![0; ROOM];
    loop {
        let (n, from) = s.recv_from(&mut room)?;
        match from {
            Some(from) => { s.send_to(&room[..n], &from)?; }
            None => println!("{} bytes", n), // v1 does not tell where to answer
        }
    }
}

fn ask(address: &str, text: &str) -> io::Result<()> {
    let a: SocketAddr = address.parse().map_err(|_| io::Error::new(ErrorKind::InvalidInput, "no address"))?;
    let s = Socket::connected(&a, DATAGRAM)?;
    s.send_to(text.as_bytes(), &a)?;
    let mut room = vec![0; ROOM];
    let n = s.recv(&mut room)?;
    println!("{}", String::from_utf8_lossy(&room[..n]));
    Ok(())
}

fn options() -> io::Result<()> {
    use wasmedge::{SO_RCVTIMEO, SO_REUSEADDR, SO_SNDBUF, SO_TYPE};
    let a: SocketAddr = ([127, 0, 0, 1], 0).into();
    let s = Socket::bound(&a, DATAGRAM)?;
    let mut value = [0; 4];
    assert_eq!(s.option(SO_TYPE, &mut value)?, 4);
    assert_eq!(i32::from_le_bytes(value), DATAGRAM.into());
    assert_eq!(s.option(SO_REUSEADDR, &mut value)?, 4);
    assert_eq!(i32::from_le_bytes(value), 1);
    s.set_option(SO_SNDBUF, &100_000i32.to_le_bytes())?;
    s.option(SO_SNDBUF, &mut value)?;
    assert!(i32::from_le_bytes(value) >= 100_000);
    let mut wait = [0; 16]; // seconds and microseconds
    wait[8..12].copy_from_slice(&50_000i32.to_le_bytes());
    s.set_option(SO_RCVTIMEO, &wait)?;
    assert_eq!(s.recv(&mut value).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(Socket::connected(&([127, 0, 0, 1], 1).into(), STREAM).is_err());
    assert!(s.set_option(99, &wait).is_err());
    if cfg!(wasmedge = "2") {
        Socket::open(wasmedge::UNIX, STREAM)?;
    }
    println!("options: ok");
    Ok(())
}

fn run() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[1..] {
        ["serve", ..] if args.len() > 2 => serve(&args[2..]),
        ["get", url] => get(url),
        ["put", url, n] => put(url, n.parse().unwrap_or(0)),
        ["udp", address] => udp(address),
        ["ask", address, text] => ask(address, text),
        ["resolve", node, service] => Ok(resolve(node, service)?.iter().for_each(|a| println!("{}", a))),
        ["options"] => options(),
        _ => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "usage: net serve ADDRESS... | get URL | put URL N | udp ADDRESS | ask ADDRESS TEXT | resolve NAME SERVICE | options",
        )),
    }
}

fn main() {
    if let Err(e) = run() {
        eprintln!("net: {}", e);
        std::process::exit(1);
    }
}
