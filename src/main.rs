//! starttls-wrapper, with the protocols that come with it. A program with more of them is as short:
//! examples/own-protocol.

use starttls_protocols::PROTOCOLS;
use starttls_wrapper::memory::{WIPING, Wiping};
use starttls_wrapper::program;

fn main() -> ! {
    program::run(PROTOCOLS)
}

#[global_allocator]
static ALLOCATOR: Wiping = WIPING;
