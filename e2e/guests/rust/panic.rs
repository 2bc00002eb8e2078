//! Panics inside named functions, which ends in an `unreachable` trap.

#[inline(never)]
fn deliver_parcel(address: Option<&str>) -> usize {
    address.expect("parcel without address").len()
}

#[inline(never)]
fn sort_parcels(n: usize) -> usize {
    deliver_parcel(if n > 99 { Some("somewhere") } else { None }) + 1
}

fn main() {
    println!("about to panic");
    let n = std::env::args().count();
    println!("{}", sort_parcels(n));
}
