//! Works on files as a Rust program does, and exits 0 only when all of it came
//! out right. Its argument is a directory that it may create.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

fn check(ok: bool, what: &str) -> io::Result<()> {
    if ok {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::Other, what.to_string()))
    }
}

fn create_and_read(dir: &Path) -> io::Result<()> {
    let name = dir.join("a.txt");
    File::create(&name)?.write_all(b"one two three")?;
    check(fs::read(&name)? == b"one two three", "content read back")?;
    check(fs::metadata(&name)?.len() == 13, "size by stat")
}

fn seek_and_append(dir: &Path) -> io::Result<()> {
    let name = dir.join("a.txt");
    OpenOptions::new().append(true).open(&name)?.write_all(b" four")?;
    let mut f = File::open(&name)?;
    f.seek(SeekFrom::End(-4))?;
    let mut tail = String::new();
    f.read_to_string(&mut tail)?;
    check(tail == "four", "tail after append and seek")
}

fn rename_and_list(dir: &Path) -> io::Result<()> {
    fs::rename(dir.join("a.txt"), dir.join("b.txt"))?;
    fs::create_dir(dir.join("sub"))?;
    let names: BTreeSet<String> = fs::read_dir(dir)?
        .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    let want: BTreeSet<String> = ["b.txt", "sub"].iter().map(|s| s.to_string()).collect();
    check(names == want, &format!("read_dir gives {:?}", names))
}

fn errors(dir: &Path) -> io::Result<()> {
    let missing = File::open(dir.join("missing")).map(|_| ()).map_err(|e| e.kind());
    check(missing == Err(ErrorKind::NotFound), "open of a missing file")?;
    let again = fs::create_dir(dir.join("sub")).map_err(|e| e.kind());
    check(again == Err(ErrorKind::AlreadyExists), "create_dir twice")
}

fn remove(dir: &Path) -> io::Result<()> {
    fs::remove_dir(dir.join("sub"))?;
    fs::remove_file(dir.join("b.txt"))?;
    fs::remove_dir(dir)?;
    check(!dir.exists(), "the directory is gone")
}

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "/files-rust".into());
    let dir = Path::new(&dir);
    let steps: [(&str, fn(&Path) -> io::Result<()>); 6] = [
        ("mkdir", |d| fs::create_dir_all(d)),
        ("create and read", create_and_read),
        ("seek and append", seek_and_append),
        ("rename and list", rename_and_list),
        ("errors", errors),
        ("remove", remove),
    ];
    for (name, step) in steps {
        if let Err(e) = step(dir) {
            println!("FAIL {}: {}", name, e);
            std::process::exit(1);
        }
    }
    println!("files: ok {} steps", steps.len());
}
