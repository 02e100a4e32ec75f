//! A small server of SMTP, POP3 and IMAP that knows no TLS, for tests/soak.rs, and never installed. It tells what it was
//! sent by its sum, and gives the mail of any size.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

#[path = "../tests/soak/mail.rs"]
mod mail;

fn main() -> io::Result<()> {
    let protocol = std::env::args().nth(1).unwrap_or_default();
    let mut post = Post { input: BufReader::new(io::stdin().lock()), output: BufWriter::new(io::stdout().lock()) };
    let served = match protocol.as_str() {
        "smtp" => post.serve("220 postbox ESMTP\r\n", Post::smtp),
        "pop3" => post.serve("+OK postbox\r\n", Post::pop3),
        "imap" => post.serve("* OK postbox\r\n", Post::imap),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    // A client may leave whenever it likes.
    let left = [io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof];
    served.or_else(|why| if left.contains(&why.kind()) { Ok(()) } else { Err(why) })
}

/// Both ends of the client.
struct Post {
    input: BufReader<io::StdinLock<'static>>,
    output: BufWriter<io::StdoutLock<'static>>,
}

impl Post {
    /// Answers each line, until `answer` says that it was the last.
    fn serve(&mut self, greeting: &str, answer: fn(&mut Self, &[&str]) -> io::Result<bool>) -> io::Result<()> {
        let mut line = String::new();
        self.output.write_all(greeting.as_bytes())?;
        self.output.flush()?;
        while self.input.read_line(&mut line)? > 0 {
            let goes_on = answer(self, &line.split_whitespace().collect::<Vec<_>>())?;
            self.output.flush()?;
            if !goes_on {
                break;
            }
            line.clear();
        }
        Ok(())
    }

    fn smtp(&mut self, words: &[&str]) -> io::Result<bool> {
        match words.first().copied().unwrap_or_default() {
            "EHLO" => self.say("250-postbox\r\n250-PIPELINING\r\n250 8BITMIME\r\n")?,
            "DATA" => {
                self.say("354 go on\r\n")?;
                self.output.flush()?;
                let sum = mail::sum(&self.take_stuffed()?);
                self.say(&format!("250 took {sum:016x}\r\n"))?;
            }
            "QUIT" => self.say("221 bye\r\n")?,
            _ => self.say("250 ok\r\n")?,
        }
        Ok(words.first() != Some(&"QUIT"))
    }

    fn pop3(&mut self, words: &[&str]) -> io::Result<bool> {
        match words {
            ["CAPA"] => self.say("+OK\r\nUSER\r\nUIDL\r\n.\r\n")?,
            ["RETR", size] => {
                self.say("+OK\r\n")?;
                self.output.write_all(&mail::stuffed(&mail::mail(number(size)?)))?;
                self.say(".\r\n")?;
            }
            _ => self.say("+OK\r\n")?,
        }
        Ok(words != ["QUIT"])
    }

    fn imap(&mut self, words: &[&str]) -> io::Result<bool> {
        let tag = words.first().copied().unwrap_or("*");
        match words.get(1..).unwrap_or_default() {
            ["CAPABILITY"] => self.say("* CAPABILITY IMAP4rev1\r\n")?,
            ["FETCH", size] => {
                let mail = mail::mail(number(size)?);
                self.say(&format!("* 1 FETCH (BODY[] {{{}}}\r\n", mail.len()))?;
                self.output.write_all(&mail)?;
                self.say(")\r\n")?;
            }
            ["APPEND", literal] => {
                self.say("+ go on\r\n")?;
                self.output.flush()?;
                let mut mail = vec![0; number(literal.trim_matches(['{', '}']))?];
                self.input.read_exact(&mut mail)?;
                self.input.read_line(&mut String::new())?;
                self.say(&format!("* took {:016x}\r\n", mail::sum(&mail)))?;
            }
            ["LOGOUT"] => self.say("* BYE\r\n")?,
            _ => {}
        }
        self.say(&format!("{tag} OK\r\n"))?;
        Ok(words.get(1) != Some(&"LOGOUT"))
    }

    /// Up to the line with a dot.
    fn take_stuffed(&mut self) -> io::Result<Vec<u8>> {
        let mut mail = Vec::new();
        loop {
            let start = mail.len();
            if self.input.read_until(b'\n', &mut mail)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match mail.get(start..) {
                Some(b".\r\n") => {
                    mail.truncate(start);
                    return Ok(mail);
                }
                Some([b'.', ..]) => _ = mail.remove(start),
                _ => {}
            }
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())
    }
}

fn number(word: &str) -> io::Result<usize> {
    word.parse().map_err(|_| io::ErrorKind::InvalidData.into())
}
