//! A small and fast SMTP server that knows no TLS: the server that every stack under test runs.
//!
//! It is compiled by itself (statically, so that its own start costs little), and besides SMTP it knows two words
//! for bulk: `XSINK n` takes n bytes, `XSOURCE n` gives n bytes; each ends with a 250 line.

use std::io::{self, BufRead, Read, Write};

/// One session.
pub fn serve(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut input = io::BufReader::with_capacity(PIECE, input);
    output.write_all(b"220 mx.example ESMTP\r\n")?;
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let count = rest.parse().unwrap_or(0);
        output.flush()?;
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => output.write_all(b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")?,
            "DATA" => {
                output.write_all(b"354 go ahead\r\n")?;
                output.flush()?;
                take_message(&mut input)?;
                output.write_all(b"250 ok\r\n")?;
            }
            "XSINK" => {
                sink(&mut input, count)?;
                output.write_all(b"250 ok\r\n")?;
            }
            "XSOURCE" => {
                source(&mut output, count)?;
                output.write_all(b"250 ok\r\n")?;
            }
            "QUIT" => {
                output.write_all(b"221 mx.example\r\n")?;
                return output.flush();
            }
            _ => output.write_all(b"250 ok\r\n")?,
        }
        output.flush()?;
        line.clear();
    }
    Ok(())
}

fn take_message(input: &mut impl BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    while line != b".\r\n" {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn sink(input: &mut impl BufRead, mut count: usize) -> io::Result<()> {
    while count > 0 {
        let here = input.fill_buf()?.len().min(count);
        if here == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.consume(here);
        count -= here;
    }
    Ok(())
}

fn source(output: &mut impl Write, mut count: usize) -> io::Result<()> {
    let piece = vec![b'x'; PIECE];
    while count > 0 {
        let here = count.min(PIECE);
        output.write_all(&piece[..here])?;
        count -= here;
    }
    Ok(())
}

const PIECE: usize = 64 * 1024;

#[allow(dead_code)] // the benchmark uses the rest as a module
fn main() -> io::Result<()> {
    use std::fs::File;
    use std::os::fd::AsFd;
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    serve(input, output)
}
