//! Text of a bill as UTF-8, whatever it was written in.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, GB18030, UTF_8};

use super::error::{Defect, Place};

/// How a text file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8, with or without a BOM.
    Utf8,
    /// GB18030, which contains GBK and GB 2312.
    Gb18030,
}

impl TextEncoding {
    /// Name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Gb18030 => "GB18030",
        }
    }

    fn decoder(self) -> Decoder {
        match self {
            Self::Utf8 => UTF_8.new_decoder_without_bom_handling(),
            Self::Gb18030 => GB18030.new_decoder_without_bom_handling(),
        }
    }
}

/// Bytes that are no text, as an error inside of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("line {line}: bytes that are no {}", encoding.name())]
pub(crate) struct Malformed {
    pub(crate) encoding: TextEncoding,
    pub(crate) line: u64,
}

impl Malformed {
    /// The defect of an error that reading ran into, where it is of this kind.
    pub(crate) fn defect(error: &io::Error) -> Option<Defect> {
        let this = error.get_ref()?.downcast_ref::<Self>()?;
        let found = format!("bytes that are no {}", this.encoding.name());
        let advice = "save the file as UTF-8 or GB18030, or name its encoding in the mapping";
        Some(Defect::new(found, advice).at(Place::Line(this.line)))
    }
}

/// Size of the pieces that are read.
const CHUNK: usize = 64 << 10;

/// Finds out how a file is encoded: UTF-8 if all of it is, else GB18030.
///
/// # Errors
/// What reading ran into.
pub(crate) fn detect(input: &mut dyn Read) -> io::Result<Result<TextEncoding, Defect>> {
    let mut head = Vec::new();
    input.take(4).read_to_end(&mut head)?;
    if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        let advice = "save it as UTF-8";
        return Ok(Err(Defect::new("the file is UTF-16, which is not read", advice)));
    }
    if head.starts_with(b"PK\x03\x04") {
        let advice = "unpack it, or give a workbook the ending .xlsx";
        return Ok(Err(Defect::new("the file is a ZIP archive or a workbook, no text", advice)));
    }
    let mut text = TextReader::new(io::Cursor::new(head).chain(input), TextEncoding::Utf8);
    let mut sink = vec![0; CHUNK];
    loop {
        match text.read(&mut sink) {
            Ok(0) => return Ok(Ok(TextEncoding::Utf8)),
            Ok(_) => {}
            Err(error) if Malformed::defect(&error).is_some() => {
                return Ok(Ok(TextEncoding::Gb18030));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Decodes what it reads. Gives UTF-8 without a BOM, or an error that names the line.
pub(crate) struct TextReader<R> {
    input: R,
    encoding: TextEncoding,
    decoder: Decoder,
    raw: Vec<u8>,
    raw_at: usize,
    ended: bool,
    text: Vec<u8>,
    text_at: usize,
    begun: bool,
    line: u64,
}

impl<R> std::fmt::Debug for TextReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextReader").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl<R: Read> TextReader<R> {
    pub(crate) fn new(input: R, encoding: TextEncoding) -> Self {
        Self {
            input,
            encoding,
            decoder: encoding.decoder(),
            raw: Vec::new(),
            raw_at: 0,
            ended: false,
            text: Vec::new(),
            text_at: 0,
            begun: false,
            line: 1,
        }
    }

    /// Decodes until there is some text or the end.
    fn refill(&mut self) -> io::Result<()> {
        self.text_at = 0;
        self.text.resize(CHUNK * 3, 0);
        let mut written = 0;
        while written == 0 {
            if self.raw_at == self.raw.len() && !self.ended {
                self.raw.resize(CHUNK, 0);
                let read = self.input.read(&mut self.raw)?;
                self.raw.truncate(read);
                self.raw_at = 0;
                self.ended = read == 0;
            }
            let (result, read, wrote) = self.decoder.decode_to_utf8_without_replacement(
                &self.raw[self.raw_at..],
                &mut self.text,
                self.ended,
            );
            self.raw_at += read;
            written = wrote;
            if let DecoderResult::Malformed(..) = result {
                let lines = self.text[..written].iter().filter(|byte| **byte == b'\n').count();
                let line = self.line + u64::try_from(lines).unwrap_or(0);
                return Err(io::Error::other(Malformed { encoding: self.encoding, line }));
            }
            if self.ended && result == DecoderResult::InputEmpty {
                break;
            }
        }
        self.text.truncate(written);
        if !self.begun && written > 0 {
            self.begun = true;
            if self.text.starts_with("\u{feff}".as_bytes()) {
                self.text_at = 3;
            }
        }
        let lines = self.text.iter().filter(|byte| **byte == b'\n').count();
        self.line += u64::try_from(lines).unwrap_or(0);
        Ok(())
    }
}

impl<R: Read> Read for TextReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.text_at == self.text.len() {
            if self.ended && self.raw_at == self.raw.len() {
                return Ok(0);
            }
            self.refill()?;
        }
        let count = out.len().min(self.text.len() - self.text_at);
        out[..count].copy_from_slice(&self.text[self.text_at..self.text_at + count]);
        self.text_at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], encoding: TextEncoding) -> Result<String, String> {
        let mut text = String::new();
        TextReader::new(bytes, encoding)
            .read_to_string(&mut text)
            .map(|_| text)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn texts_come_out_as_utf_8_without_a_bom() {
        let long = "模型,金额\n".repeat(40_000);
        let (gb, _, _) = GB18030.encode(&long);
        for (bytes, expected) in [
            (long.as_bytes(), TextEncoding::Utf8),
            (&[b"\xEF\xBB\xBF", long.as_bytes()].concat(), TextEncoding::Utf8),
            (&gb[..], TextEncoding::Gb18030),
            (&[b"\x84\x31\x95\x33", &gb[..]].concat(), TextEncoding::Gb18030),
        ] {
            let found = detect(&mut &bytes[..]).unwrap().unwrap();
            assert_eq!(found, expected);
            assert!(read(bytes, found).unwrap() == long);
        }
        assert_eq!(read(b"", TextEncoding::Utf8), Ok(String::new()));
    }

    #[test]
    fn bytes_that_are_no_text_are_told_by_their_line() {
        let wrong = "line 3: bytes that are no UTF-8".to_owned();
        assert_eq!(read(b"a\nb\nc\xFF\xFFd\n", TextEncoding::Utf8), Err(wrong));
        let wrong = "line 2: bytes that are no GB18030".to_owned();
        assert_eq!(read(b"a\n\x81", TextEncoding::Gb18030), Err(wrong));
    }

    #[test]
    fn other_kinds_of_files_are_named() {
        let found = |bytes: &[u8]| detect(&mut &bytes[..]).unwrap().unwrap_err().found;
        assert_eq!(found(b"\xFF\xFEa\0"), "the file is UTF-16, which is not read");
        assert!(found(b"PK\x03\x04rest").contains("ZIP archive"));
    }
}
