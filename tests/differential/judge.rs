//! Whether a dialogue went as it must: as the oracle says, and whatever the oracle says, no command word but the opening
//! words has reached a server where TLS is required, and no word said outside a server inside.

use super::line::End;
use super::link::Heard;
use super::oracle::{Oracle, State};
use super::play::Played;
use super::script::{Script, Way, shown};
use super::servers::{FGETS, FGETS_BUFFER};
use super::words::Words;

/// What is wrong.
pub(crate) fn judge(script: &Script, played: &Played) -> Result<(), String> {
    agrees(script, played)?;
    let [outside, inside] = &played.servers;
    if let (true, Some(server)) = (script.strict, outside) {
        only_opening_words(script.words(), server)?;
    }
    if played.came_to_tls && script.way != Way::Implicit {
        asks_for_tls_last(&script.client[0].concat())?;
    }
    if let Some(server) = inside {
        nothing_from_outside(script, &server.bytes)?;
    }
    ends_well(played)
}

/// Both sides have heard what the oracle says.
fn agrees(script: &Script, played: &Played) -> Result<(), String> {
    let Oracle { to_client, to_server, state, raced, inside, .. } = &played.oracle;
    if *inside != played.came_to_tls && !raced {
        return Err(format!("TLS: {}, where the session says {inside}", played.came_to_tls));
    }
    for part in [0, 1] {
        let heard = &played.client_heard[part];
        // What is no ClientHello gets an alert behind the go-ahead.
        let heard = if part == 0 { without_alert(heard, &to_client[0]) } else { heard };
        let nobody = Heard { bytes: Vec::new(), left_first: false, log: None };
        let server = played.servers[part].as_ref().unwrap_or(&nobody);
        // Last words may be no answer to anything.
        let left_while_watched = server.left_first && *state != State::Passing;
        let in_any_order = *raced || left_while_watched || is_answered_more_than_once(script, part);
        same("the client", part, heard, &to_client[part], in_any_order)?;
        same("the server", part, &server.bytes, &to_server[part], *raced || server.left_first)?;
    }
    let expected = [script.way != Way::Implicit, *inside];
    let found = played.servers.each_ref().map(Option::is_some);
    // A backend is reached before the go-ahead.
    if found[0] == expected[0] && (found[1] == expected[1] || *raced || script.way == Way::Backend) {
        Ok(())
    } else {
        Err(format!("servers before and inside TLS: {found:?}"))
    }
}

/// What is longer than its buffer is several commands to this server. Where an answer of ours comes among all of its own,
/// the faster one says.
fn is_answered_more_than_once(script: &Script, part: usize) -> bool {
    let said = script.client[part].concat();
    script.service.name == FGETS && said.split_inclusive(|byte| *byte == b'\n').any(|line| line.len() >= FGETS_BUFFER)
}

/// The same bytes; where somebody left, as far as they go; and where two spoke at a time, in whatever order.
fn same(who: &str, part: usize, heard: &[u8], expected: &[u8], in_part: bool) -> Result<(), String> {
    if in_part && by_line(heard) == by_line(expected) {
        return Ok(());
    }
    let common = heard.iter().zip(expected).take_while(|(heard, expected)| heard == expected).count();
    let is_same = common == heard.len() && common == expected.len();
    if is_same || (in_part && (common == heard.len() || common == expected.len())) {
        return Ok(());
    }
    let place = ["before TLS", "inside TLS"][part];
    let [heard, expected] = [heard, expected].map(|bytes| shown(&bytes[common.saturating_sub(40)..]));
    Err(format!("{who} {place} hears otherwise from byte {common} on\nheard:    {heard}\nexpected: {expected}"))
}

fn by_line(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

fn without_alert<'a>(heard: &'a [u8], expected: &[u8]) -> &'a [u8] {
    let (begun, rest) = heard.split_at(heard.len().min(expected.len()));
    if rest.starts_with(b"\x15\x03") { begun } else { heard }
}

/// However the server cuts what it hears into lines.
fn only_opening_words(words: &Words, server: &Heard) -> Result<(), String> {
    for (name, cut) in CUTS {
        for line in cut(&server.bytes) {
            let text = String::from_utf8_lossy(line).to_ascii_uppercase();
            let word = text.split([' ', '\t']).nth(usize::from(words.tagged));
            if !text.is_empty() && !word.is_some_and(|word| words.strict.contains(&word)) {
                let line = shown(line);
                return Err(format!("a server that TLS is required for hears \"{line}\", if {name} ends its lines"));
            }
        }
    }
    for took in server.log.iter().flat_map(|log| log.lines()).filter_map(|line| line.strip_prefix("took: ")) {
        if !took.is_empty() && !words.strict.iter().any(|word| hex(word) == took) {
            return Err(format!("a server that TLS is required for took 0x{took}"));
        }
    }
    Ok(())
}

type Cut = fn(&[u8]) -> Vec<&[u8]>;

const CUTS: &[(&str, Cut)] = &[
    ("LF", |bytes| bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()),
    ("LF or CR", |bytes| bytes.split(|byte| b"\r\n".contains(byte)).collect()),
    ("LF, CR or NUL", |bytes| bytes.split(|byte| b"\r\n\0".contains(byte)).collect()),
];

fn hex(word: &str) -> String {
    word.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// TLS stands: so nothing came between the word that asks for it and the ClientHello.
fn asks_for_tls_last(said: &[u8]) -> Result<(), String> {
    let last = said.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
    let text = last.trim_ascii_end().to_ascii_uppercase();
    let asks = text.ends_with(b"STARTTLS") || text.ends_with(b"STLS");
    if asks { Ok(()) } else { Err(format!("TLS begins behind {}", shown(last))) }
}

/// But for one word that opens the session, and only if it may be said again.
fn nothing_from_outside(script: &Script, heard: &[u8]) -> Result<(), String> {
    let outside: Vec<&[u8]> = heard
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| memchr::memmem::find(line, b"outside").is_some())
        .collect();
    let may_be_replayed = script.replays && !script.strict && outside.len() == 1 && heard.starts_with(outside[0]);
    if outside.is_empty() || may_be_replayed {
        Ok(())
    } else {
        Err(format!("the server inside TLS hears {}", shown(&outside.concat())))
    }
}

/// The client hears the end as an end, and nobody has broken down.
fn ends_well(played: &Played) -> Result<(), String> {
    if played.client_end != End::Clean {
        return Err(format!("the client's end is {:?}; the log:\n{}", played.client_end, played.log));
    }
    if played.log.contains("panicked") || played.log.contains("fatal: ") || played.status >= 100 && played.status != 143
    {
        return Err(format!("status {}, and the log:\n{}", played.status, played.log));
    }
    Ok(())
}
