//! Events as lines of a file or of standard output.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use tally_generate::GeneratedEvent;

use super::{Delivered, put_json};
use crate::exit::{Failure, file_failure};

const BUFFER_BYTES: usize = 1 << 20;

pub(crate) struct FileSink {
    name: String,
    out: BufWriter<Box<dyn Write + Send>>,
    line: Vec<u8>,
    lines: u64,
}

impl FileSink {
    pub(super) fn stdout() -> Self {
        Self::new("standard output".to_owned(), Box::new(std::io::stdout()))
    }

    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| file_failure(path, &error))?;
        Ok(Self::new(path.display().to_string(), Box::new(file)))
    }

    fn new(name: String, out: Box<dyn Write + Send>) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Self { name, out, line: Vec::new(), lines: 0 }
    }

    pub(super) fn send(&mut self, event: &GeneratedEvent) -> Result<(), Failure> {
        self.line.clear();
        put_json(&event.body, &mut self.line)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line).map_err(|error| self.failure(&error))?;
        self.lines += 1;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| self.failure(&error))
    }

    pub(super) fn finish(mut self) -> Result<Delivered, Failure> {
        self.flush()?;
        Ok(Delivered { messages: self.lines, refused: 0 })
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        Failure::internal(format!("{}: {error}", self.name))
    }
}
