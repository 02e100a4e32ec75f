//! Memory that is wiped when it is freed, whoever had it and whatever it was. The only door to zeroizing-alloc.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// What a program has as its `#[global_allocator]`: a key passes through memory of several libraries on its way to
/// aws-lc, which wipes its own; and so do credentials on theirs.
pub type Wiping = ZeroAlloc<System>;

/// Its one value.
pub const WIPING: Wiping = ZeroAlloc(System);
