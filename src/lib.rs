//! starttls-wrapper gives STARTTLS to a mail server that knows no TLS.
//!
//! ```text
//! super-server ─exec▶ KEEPER    original uid; holds the key; spawns prog, connects, signs.
//!                        │ fork; a socketpair, the WINDOW      Never reads a byte that client or server sent.
//!                        └─▶ SESSION   TLS_UID/TLS_GID, no_new_privs, Landlock, seccomp.
//!                              fd 0/1 ⇄ client    pipes ⇄ prog    socket ⇄ TLS server
//!                              Reads every network byte; never sees the key.
//! ```
//!
//! tlsify is the same the other way round: fd 0/1 or prog is the client, which knows no TLS; the keeper connects to the
//! server, and has the client's key.
//!
//! To be read in this order:
//!
//! 1. [`program`] is starttls-wrapper from its first line to its last; [`config`] is what was decided, [`cli`] how it
//!    is told, [`message`] what an administrator hears.
//! 2. [`window`] is what the session may ask for, [`keeper`] how it gets it; with [`keys`] and [`names`], [`address`],
//!    [`command`] and [`signals`].
//! 3. [`relay`] is the session's loop. It obeys the orders of [`starttls_protocols::session`], where the laws are, over
//!    two or three [`side`]s, with or without [`tls`]; [`client`], [`proxy`] and [`ucspi`] are how a client comes,
//!    [`facts`] what is told of its TLS.
//! 4. [`sandbox`] is what either process gives up, [`raw`] all of the `unsafe`, [`memory`] what is wiped.
//! 5. [`check`] tries all of it without a client.
//!
//! doc/structure.md has them on one page, with the ways of a byte and of a handshake.

pub mod address;
pub mod check;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod facts;
pub mod keeper;
pub mod keys;
pub mod memory;
pub mod message;
pub mod names;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod sandbox;
pub mod side;
pub mod signals;
pub mod tls;
pub mod ucspi;
pub mod window;
