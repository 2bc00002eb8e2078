//! Shows what a guest was given; prints the lines of the Go and C guests of the
//! same name.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::wasi::ffi::OsStrExt;

fn line(out: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    for part in parts {
        out.write_all(part)?;
    }
    out.write_all(b"\n")
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    line(&mut out, &[b"hello from rust"])?;
    for (i, arg) in std::env::args_os().enumerate() {
        line(&mut out, &[format!("arg {} ", i).as_bytes(), arg.as_bytes()])?;
    }
    for (key, value) in std::env::vars_os() {
        line(&mut out, &[b"env ", key.as_bytes(), b"=", value.as_bytes()])?;
    }
    out.flush()?;
    eprintln!("bye from rust");
    std::process::exit(exit_code(std::env::var_os("EXIT_CODE")));
}

fn exit_code(value: Option<OsString>) -> i32 {
    match value {
        None => 0,
        Some(v) => match v.to_string_lossy().parse() {
            Ok(n) => n,
            Err(_) => {
                eprintln!("EXIT_CODE={:?} is not a number", v);
                2
            }
        },
    }
}
