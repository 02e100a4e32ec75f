//! What clients say in each protocol, what they should not say, and how it is spoilt.
//!
//! `~` becomes a fresh tag, `%` tells in which part of the session it was said.

/// The words of one protocol.
pub(crate) struct Words {
    /// The protocol's, as `--protocol` has it.
    pub(crate) name: &'static str,
    /// The only words that may reach a server before TLS if it is required.
    pub(crate) strict: &'static [&'static str],
    /// A command has a tag before it.
    pub(crate) tagged: bool,
    /// What is watched.
    pub(crate) opening: &'static [&'static str],
    pub(crate) starttls: &'static [&'static str],
    /// What ends the watching, or is refused; and what only looks like the above.
    pub(crate) other: &'static [&'static str],
    /// The same in several lines, with what is no command among them.
    pub(crate) blocks: &'static [&'static str],
    pub(crate) last: &'static str,
}

impl Words {
    pub(crate) fn of(protocol: &str) -> &'static Self {
        ALL.iter().find(|words| words.name == protocol).expect("the protocol has words")
    }
}

pub(crate) static ALL: &[Words] = &[
    Words {
        name: "smtp",
        strict: SMTP_STRICT,
        tagged: false,
        opening: &[
            "EHLO %.example",
            "EHLO %.example",
            "ehlo [127.0.0.1]",
            "EHLO",
            "HELO %.example",
            "NOOP",
            "NOOP %",
            "noop",
            "RSET",
            "HELP",
            "HELP %",
            "VRFY %",
            "EXPN %",
            "LHLO %.example",
        ],
        starttls: SMTP_STARTTLS,
        other: &[
            "MAIL FROM:<%@example.org>",
            "RCPT TO:<%@example.org>",
            "DATA",
            "AUTH PLAIN AG8AbyUtZQ==",
            "XCLIENT ADDR=192.0.2.1",
            "STARTTLSX",
            "START TLS",
            " STARTTLS",
            " NOOP",
            "NOOP\t%",
            "EHLO\t%",
            "NOOPX",
            "EHLO%",
            "ETRN %",
            "GET / HTTP/1.1",
            "",
            ".",
            "\u{0}",
        ],
        blocks: SMTP_BLOCKS,
        last: "QUIT",
    },
    Words {
        name: "lmtp",
        strict: SMTP_STRICT,
        tagged: false,
        opening: &["LHLO %.example", "LHLO %.example", "lhlo %", "NOOP", "NOOP %", "RSET", "VRFY %", "HELP", "EHLO %"],
        starttls: SMTP_STARTTLS,
        other: &["MAIL FROM:<%@example.org>", "RCPT TO:<reader>", "DATA", "STARTTLSX", " NOOP", "NOOPX", "", "LHLO%"],
        blocks: SMTP_BLOCKS,
        last: "QUIT",
    },
    Words {
        name: "pop3",
        strict: &["CAPA", "AUTH", "NOOP", "LANG", "QUIT"],
        tagged: false,
        opening: &["CAPA", "capa", "CAPA %", "AUTH", "NOOP", "NOOP %", "LANG", "LANG %", "LANG *", "auth"],
        starttls: &["STLS", "STLS", "stls", "Stls", "STLS ", "STLS\t", "STLS %"],
        other: &[
            "USER reader",
            "PASS secret",
            "APOP % 0123456789abcdef0123456789abcdef",
            "AUTH PLAIN",
            "AUTH PLAIN AHJlYWRlcgBzZWNyZXQ=",
            "AUTH ",
            "LANG ",
            "STLSX",
            "STARTTLS",
            " STLS",
            "CAPAX",
            "LIST",
            "XYZZY %",
            "",
            ".",
            "\u{0}",
        ],
        blocks: &[
            "USER reader\r\nPASS secret\r\nSTAT\r\nLIST\r\nRETR 1\r\nTOP 1 0\r\nUIDL\r\nNOOP\r\n",
            "USER %\r\nPASS STLS\r\nSTLS\r\n",
            "AUTH PLAIN\r\nSTLS\r\nCAPA\r\n",
            "AUTH LOGIN\r\n*\r\nSTLS\r\n",
        ],
        last: "QUIT",
    },
    Words {
        name: "imap",
        strict: &["CAPABILITY", "NOOP", "ID", "LOGOUT"],
        tagged: true,
        opening: &[
            "~ CAPABILITY",
            "~ capability",
            "~ NOOP",
            "~ ID NIL",
            "~ ID (\"name\" \"%\")",
            "~ ID",
            "~ NOOP %",
            "~ Id (\"~\" \"STARTTLS\")",
        ],
        starttls: &["~ STARTTLS", "~ STARTTLS", "~ starttls", "~ STARTTLS ", "~ STARTTLS %", "~ STARTTLS\t"],
        other: &[
            "~ LOGIN reader secret",
            "~ LOGIN reader {6}",
            "~ LOGIN reader {6+}",
            "~ LOGIN {12+} {3}",
            "~ AUTHENTICATE PLAIN",
            "~ ID {3}",
            "~ NOOP {4}",
            "~ NOOP {4+} ",
            "~ SELECT INBOX",
            "~ STARTTLSX",
            "~  STARTTLS",
            " ~ STARTTLS",
            "STARTTLS",
            "~",
            "* NOOP",
            "+ NOOP",
            "~( NOOP",
            "",
            "\u{0}",
        ],
        blocks: &[
            "~ LOGIN reader {6}\r\nsecret\r\n~ SELECT INBOX\r\n~ FETCH 1 BODY[]\r\n~ NOOP\r\n",
            "~ LOGIN reader {6+}\r\nsecret\r\n~ APPEND INBOX {16+}\r\n~ STARTTLS\r\n%\r\n\r\n~ CHECK\r\n",
            "~ LOGIN % {13+}\r\n~ STARTTLS\r\nx\r\n~ STARTTLS\r\n",
            "~ ID {12}\r\n~ STARTTLS\r\n\r\n~ NOOP\r\n",
            "~ AUTHENTICATE PLAIN\r\n~ STARTTLS\r\n*\r\n~ NOOP\r\n",
        ],
        last: "~ LOGOUT",
    },
    Words {
        name: "sieve",
        strict: &["CAPABILITY", "NOOP", "LOGOUT"],
        tagged: false,
        opening: &["CAPABILITY", "capability", "NOOP", "NOOP \"%\"", "noop", "CAPABILITY %"],
        starttls: &["STARTTLS", "STARTTLS", "starttls", "STARTTLS ", "STARTTLS \"%\""],
        other: &[
            "AUTHENTICATE \"PLAIN\" \"AHJlYWRlcgBzZWNyZXQ=\"",
            "AUTHENTICATE \"PLAIN\" {20+}",
            "NOOP {4}",
            "NOOP {4+}",
            "HAVESPACE \"%\" 1",
            "STARTTLSX",
            " NOOP",
            "NOOP\t\"%\"",
            "",
            "\u{0}",
        ],
        blocks: &[
            "AUTHENTICATE \"PLAIN\" {20+}\r\nAHJlYWRlcgBzZWNyZXQ=\r\nPUTSCRIPT \"%\" {10+}\r\nSTARTTLS\r\n\r\nLISTSCRIPTS\r\n",
            "NOOP {10+}\r\nSTARTTLS\r\n\r\nCAPABILITY\r\n",
            "UNAUTHENTICATE\r\nSTARTTLS\r\n",
        ],
        last: "LOGOUT",
    },
    Words {
        name: "nntp",
        strict: &["CAPABILITIES", "MODE", "DATE", "HELP", "QUIT"],
        tagged: false,
        opening: &["CAPABILITIES", "capabilities", "CAPABILITIES %", "MODE READER", "mode  reader ", "DATE", "HELP"],
        starttls: &["STARTTLS", "STARTTLS", "starttls", "STARTTLS ", "STARTTLS %"],
        other: &[
            "MODE STREAM",
            "GROUP alt.test",
            "AUTHINFO USER %",
            "POST",
            "STARTTLSX",
            " DATE",
            "MODEREADER",
            "MODE READERX",
            "",
            ".",
            "\u{0}",
        ],
        blocks: &[
            "GROUP alt.test\r\nARTICLE 1\r\nSTARTTLS\r\nNEXT\r\n",
            "POST\r\nNewsgroups: alt.test\r\nSubject: %\r\nFrom: a@example.org\r\n\r\nSTARTTLS\r\n..\r\n.\r\nDATE\r\n",
        ],
        last: "QUIT",
    },
];

const SMTP_STRICT: &[&str] = &["EHLO", "LHLO", "NOOP", "QUIT"];

const SMTP_STARTTLS: &[&str] =
    &["STARTTLS", "STARTTLS", "starttls", "StartTLS", "STARTTLS ", "STARTTLS \t", "STARTTLS %", "STARTTLS\t%"];

const SMTP_BLOCKS: &[&str] = &[
    "MAIL FROM:<%@example.org>\r\nRCPT TO:<reader>\r\nDATA\r\nSubject: %\r\n\r\nSTARTTLS\r\nNOOP\r\n..\r\n.\r\nNOOP\r\n",
    "MAIL FROM:<%@example.org>\r\nRCPT TO:<reader@example.org>\r\nDATA\r\n%\n.\nSTARTTLS\n\r\n.\r\nSTARTTLS\r\n",
    "MAIL FROM:<>\r\nRCPT TO:<reader>\r\nDATA\r\nSTARTTLS\r\n\0\r.\r\r\n.\r\nRSET\r\n",
    "MAIL FROM:<>\r\nRCPT TO:<reader>\r\nDATA\r\nno end of it\r\nQUIT\r\n",
    "MAIL FROM:<%@example.org>\r\nRCPT TO:<reader>\r\nBDAT 10\r\nSTARTTLS\r\nBDAT 3 LAST\r\n%\r\n",
    "AUTH LOGIN\r\nSTARTTLS\r\nEHLO %\r\n*\r\n",
];

/// What stands at the end of a line: mostly the right thing.
pub(crate) const ENDS: &[&str] = &[
    "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\n",
    "\r\r\n", "\r", "\0\r\n", " \r\n", "\t\r\n", "\r\0\n", "\n\r\n", "\r\n\r\n", "",
];

/// The lengths at which somebody's patience with a line ends, its end included: POP3, SMTP and NNTP, text of SMTP, the
/// usual buffers, what this program reads at a time and keeps, and exim's.
pub(crate) const LIMITS: &[usize] = &[255, 256, 512, 1000, 1024, 2048, 4096, 8192, 16384];
