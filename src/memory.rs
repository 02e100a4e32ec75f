//! Memory that is wiped: the heap when it is freed, whoever had it and whatever it was, and the stack behind who had a key.
//! The only door to zeroizing-alloc.

use std::alloc::System;
use std::hint::black_box;

use zeroizing_alloc::ZeroAlloc;

/// What a program has as its `#[global_allocator]`: a key passes through memory of several libraries on its way to
/// the TLS library, which wipes its own; and so do credentials on theirs.
pub type Wiping = ZeroAlloc<System>;

/// Its one value.
pub const WIPING: Wiping = ZeroAlloc(System);

/// Does this, and writes zeros over the stack that it had, as far as `DEPTH` bytes down; what is zero deep costs nothing.
///
/// No language promises it: a compiler may keep copies elsewhere. Law 9's test looks whether any is left.
pub fn with_stack_wiped<const DEPTH: usize, T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    if DEPTH > 0 {
        write_over::<DEPTH>();
    }
    result
}

/// Has all of the work's frames below its own, wherever they would have been inlined to.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Its frame begins where that of [`apart`] began.
#[inline(never)]
fn write_over<const DEPTH: usize>() {
    black_box(&mut [0_u8; DEPTH]);
}
