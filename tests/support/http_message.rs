//! As much of HTTP/1.1 as a proxy needs that passes every byte on as it came.

use std::io::{self, BufRead, Read, Write};

use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// Longest head that is read.
const HEAD_MAX_BYTES: usize = 64 << 10;

/// The start line and the headers of a message.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// As they came, the empty line at the end included.
    bytes: Vec<u8>,
    text: String,
}

/// How long the body of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    Bytes(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads a head; `None` where the other side has closed the connection instead.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            let limit = (HEAD_MAX_BYTES - before) as u64;
            reader.by_ref().take(limit).read_until(b'\n', &mut bytes)?;
            match &bytes[before..] {
                [] if before == 0 => return Ok(None),
                [] => return Err(io::ErrorKind::UnexpectedEof.into()),
                b"\r\n" | b"\n" if before > 0 => break,
                line if !line.ends_with(b"\n") => return Err(io::ErrorKind::InvalidData.into()),
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(Self { bytes, text }))
    }

    /// Passes the head on.
    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.bytes)
    }

    /// The same with the times that the server tells shifted by so many seconds.
    pub(super) fn with_times_shifted(&self, seconds: i64) -> Self {
        let shifted = |value: &str| {
            let at = DateTimeParser::new().parse_timestamp(value.trim()).unwrap();
            let at = Timestamp::from_second(at.as_second() + seconds).unwrap();
            DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
        };
        let mut text = String::new();
        for line in self.text.split_inclusive("\r\n") {
            match line.split_once(':') {
                Some((name, value))
                    if name.eq_ignore_ascii_case("date")
                        || name.eq_ignore_ascii_case("last-modified") =>
                {
                    text.push_str(&format!("{name}: {}\r\n", shifted(value)));
                }
                _ => text.push_str(line),
            }
        }
        Self { bytes: text.clone().into_bytes(), text }
    }

    /// A word of the start line: 0 is the method, 1 the path or the status.
    fn word(&self, index: usize) -> &str {
        self.text.lines().next().and_then(|line| line.split(' ').nth(index)).unwrap_or_default()
    }

    /// Method of a request.
    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    /// Path of a request, the query included.
    pub(super) fn path(&self) -> &str {
        self.word(1)
    }

    /// Whether this is an answer before the answer, such as `100 Continue`.
    pub(super) fn is_interim(&self) -> bool {
        self.word(1).starts_with('1')
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How long the body of a request is.
    pub(super) fn request_body(&self) -> io::Result<BodyLength> {
        Ok(self.declared_body()?.unwrap_or(BodyLength::Bytes(0)))
    }

    /// How long the body of the answer to a request of `method` is.
    pub(super) fn response_body(&self, method: &str) -> io::Result<BodyLength> {
        if method == "HEAD" || self.is_interim() || matches!(self.word(1), "204" | "304") {
            return Ok(BodyLength::Bytes(0));
        }
        Ok(self.declared_body()?.unwrap_or(BodyLength::UntilClose))
    }

    fn declared_body(&self) -> io::Result<Option<BodyLength>> {
        if self.header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
            return Ok(Some(BodyLength::Chunked));
        }
        let length = self.header("content-length").map(str::parse).transpose();
        length
            .map(|length| length.map(BodyLength::Bytes))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Reads a body, chunk framing included, so that it can be passed on as it came.
pub(super) fn read_body(reader: &mut impl BufRead, length: BodyLength) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match length {
        BodyLength::UntilClose => drop(reader.read_to_end(&mut body)?),
        BodyLength::Bytes(bytes) => {
            reader.by_ref().take(bytes).read_to_end(&mut body)?;
            if body.len() as u64 != bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        BodyLength::Chunked => loop {
            let line_start = body.len();
            reader.read_until(b'\n', &mut body)?;
            let line = String::from_utf8_lossy(&body[line_start..]).into_owned();
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if size == 0 {
                // Trailers, up to an empty line.
                while reader.read_until(b'\n', &mut body)? > 2 {}
                break;
            }
            reader.by_ref().take(size + 2).read_to_end(&mut body)?;
        },
    }
    Ok(body)
}
