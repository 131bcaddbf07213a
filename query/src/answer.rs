//! The answer to a query: rows as they come, within its time.

use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, TryStreamExt};
use tally_tables::PinnedTables;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use crate::error::QueryError;
use crate::limits::Limits;
use crate::stop::Stop;

/// An answer: its schema at once, its rows as they come.
#[derive(Debug)]
pub struct Answer {
    /// Columns of the answer.
    pub schema: SchemaRef,
    /// The version of every table that the answer was read from.
    pub pin: Arc<PinnedTables>,
    /// The rows. Dropping it stops the query.
    pub rows: Rows,
}

impl Answer {
    /// Waits for every row.
    ///
    /// # Errors
    /// Whatever the query ran into, limits included.
    pub async fn collect(self) -> Result<(SchemaRef, Vec<RecordBatch>), QueryError> {
        let batches = self.rows.try_collect().await?;
        Ok((self.schema, batches))
    }
}

pub(crate) type Message = Result<Option<RecordBatch>, QueryError>;

/// The rows of an answer in batches. Ends after the first error.
#[derive(Debug)]
pub struct Rows {
    pub(crate) batches: mpsc::Receiver<Message>,
    pub(crate) deadline: StdPin<Box<Sleep>>,
    pub(crate) limits: Limits,
    pub(crate) task: AbortOnDrop,
    pub(crate) ended: bool,
}

/// Stops a task that nobody waits for any more.
#[derive(Debug)]
pub(crate) struct AbortOnDrop {
    pub(crate) task: AbortHandle,
    pub(crate) stop: Stop,
}

impl AbortOnDrop {
    fn abort(&self) {
        self.stop.ask();
        self.task.abort();
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(self: StdPin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // The clock is asked here and not only in the query's task: an operator that never
        // yields, or a reader that never reads, must not outlive its time.
        if this.deadline.as_mut().poll(context).is_ready() {
            this.ended = true;
            this.task.abort();
            return Poll::Ready(Some(Err(this.limits.timed_out("running"))));
        }
        let item = match this.batches.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(Some(batch)))) => return Poll::Ready(Some(Ok(batch))),
            Poll::Ready(Some(Ok(None))) => None,
            Poll::Ready(Some(Err(error))) => Some(Err(error)),
            Poll::Ready(None) => Some(Err(stopped())),
        };
        this.ended = true;
        Poll::Ready(item)
    }
}

pub(crate) fn stopped() -> QueryError {
    QueryError::Internal("the query stopped without an answer; see the log".to_owned())
}
