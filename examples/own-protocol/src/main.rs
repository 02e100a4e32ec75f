//! starttls-wrapper with one protocol more.

use starttls_protocols::{PROTOCOLS, Protocol};
use starttls_wrapper::memory::{WIPING, Wiping};
use starttls_wrapper::program;

mod howdy;

fn main() -> ! {
    let protocols: Vec<Protocol> = [PROTOCOLS, &[howdy::HOWDY]].concat();
    program::run(protocols.leak())
}

#[global_allocator]
static ALLOCATOR: Wiping = WIPING;
