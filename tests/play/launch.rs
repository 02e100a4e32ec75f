//! How the wrapper is started for a dialogue, and with which status it ends.

use crate::play::{Dialogue, Event, Mode, Step};
use crate::support::certificates::Site;
use crate::support::wrapper::Wrapper;

/// The wrapper this dialogue asks for, with this `--tls-deadline` if it waits for one; where TLS comes from `host port`,
/// it is reached at this port.
pub(super) fn wrapper(dialogue: &Dialogue, mode: Mode, deadline: &str, site: &Site, port: u16) -> Wrapper {
    let options = &dialogue.options;
    let mut wrapper = match mode {
        Mode::Respawn => Wrapper::bare(&[]).option("--respawn"),
        Mode::HostPort => Wrapper::bare(&["localhost", &port.to_string()]).option("--backend-ca").option(site.ca()),
    };
    if !options.no_key {
        wrapper = wrapper.site(site);
    }
    for (asked, option) in [
        (options.strict, "-r"),
        (options.no_advertise, "--no-advertise"),
        (options.no_replay, "--no-replay"),
        (options.implicit, "--implicit"),
    ] {
        wrapper = if asked { wrapper.option(option) } else { wrapper };
    }
    if dialogue.steps.iter().any(|step| step.event == Event::TimePasses) {
        wrapper = wrapper.options(&["--tls-deadline", deadline]);
    }
    match dialogue.named_protocol() {
        Some(name) => wrapper.options(&["-p", name]),
        None => wrapper,
    }
}

/// How the wrapper ends; prog itself ends well.
pub(super) fn status(dialogue: &Dialogue) -> i32 {
    let happens = |wanted: fn(&Event) -> bool| dialogue.steps.iter().any(|step| wanted(&step.event));
    match () {
        () if happens(|event| matches!(event, Event::NotTls(_))) => 98,
        () if happens(|event| *event == Event::TimePasses) => 99,
        () if dialogue.options.implicit && happens(|event| *event == Event::Unavailable) => 96,
        () if server_fails(dialogue) => 111,
        () => 0,
    }
}

/// Whether the last that is heard, inside TLS, is the wrapper's own: its goodbye.
fn server_fails(dialogue: &Dialogue) -> bool {
    let tls = dialogue.steps.iter().position(|step| matches!(step.event, Event::Tls(_)));
    let [.., last, Step { event: Event::Closed, .. }] = &dialogue.steps[tls.unwrap_or(dialogue.steps.len())..] else {
        return false;
    };
    let said = if let Event::Says(_, bytes) = &last.event { &bytes[..] } else { b"" };
    !last.client_hears.is_empty() && last.client_hears != said
}
