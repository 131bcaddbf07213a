//! Object storage that misbehaves as real stores do: calls take time and overtake each other, fail
//! before or after they took effect, arrive long after the caller was told that they failed, are
//! carried out twice, or answer "already exists" for an object that is not there. What it never
//! does is to lose a write that it acknowledged, or to create an object that exists.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use rand::Rng;

use super::world::{Due, Inside, World};

#[derive(Debug, Clone)]
enum Operation {
    Get(String),
    Put { path: String, bytes: Bytes, create: bool },
}

#[derive(Debug, Clone)]
enum Outcome {
    Body(Bytes),
    Stored,
    NotFound,
    Exists,
    Failed,
}

/// A call to the store.
#[derive(Debug)]
pub(super) struct Call {
    operation: Operation,
    answer_at: u64,
    /// The answer, whatever happened.
    answer: Option<Outcome>,
    /// What happened when it took effect.
    happened: Option<Outcome>,
    /// Whether the answer is that of the last time that it took effect, not of the first.
    last_counts: bool,
    /// The request never reached the store.
    unsent: bool,
}

/// What goes wrong with a call.
enum Fault {
    Nothing,
    FailsBefore,
    ReplyLost,
    ArrivesLate,
    DoneTwice,
    RetriedInside,
    FalseConflict,
}

impl Inside {
    fn fault(&mut self, operation: &Operation) -> Fault {
        if self.tick < self.faults.down_until {
            return Fault::FailsBefore;
        }
        if !self.random.random_ratio(self.faults.per_mille, 1_000) {
            return Fault::Nothing;
        }
        let Operation::Put { create, .. } = operation else { return Fault::FailsBefore };
        match self.random.random_range(0..12) {
            0..4 => Fault::ReplyLost,
            4..6 => Fault::FailsBefore,
            6..8 => Fault::ArrivesLate,
            8 => Fault::DoneTwice,
            9 | 10 => Fault::RetriedInside,
            _ if *create => Fault::FalseConflict,
            _ => Fault::FailsBefore,
        }
    }

    fn latency(&mut self) -> u64 {
        let max = self.faults.latency_max.max(1);
        let ticks = self.random.random_range(1..=max);
        if self.random.random_ratio(1, 20) { ticks * 10 } else { ticks }
    }

    fn begin(&mut self, operation: Operation) -> usize {
        let fault = self.fault(&operation);
        let there = self.tick + self.latency();
        let later = there + self.random.random_range(1..400);
        let mut call = Call {
            operation,
            answer_at: there + self.latency(),
            answer: None,
            happened: None,
            last_counts: false,
            unsent: false,
        };
        let mut effects = vec![there];
        match fault {
            Fault::Nothing => {}
            Fault::FailsBefore => {
                effects.clear();
                call.answer = Some(Outcome::Failed);
            }
            Fault::ReplyLost => call.answer = Some(Outcome::Failed),
            Fault::ArrivesLate => {
                effects = vec![call.answer_at + later - there];
                call.answer = Some(Outcome::Failed);
            }
            Fault::DoneTwice => effects.push(later),
            Fault::RetriedInside => {
                effects.push(call.answer_at);
                call.answer_at += 1;
                call.last_counts = true;
            }
            Fault::FalseConflict => {
                effects.clear();
                call.answer = Some(Outcome::Exists);
            }
        }
        let id = self.calls.len();
        self.calls.push(call);
        for tick in effects {
            self.at(tick, Due::Apply(id));
        }
        id
    }

    /// Number of reads of paths that contain `part`.
    pub(super) fn reads_below(&self, part: &str) -> u64 {
        let read = |call: &&Call| matches!(&call.operation, Operation::Get(p) if p.contains(part));
        self.calls.iter().filter(read).count() as u64
    }

    /// Lets a call take effect.
    pub(super) fn apply(&mut self, id: usize) {
        if self.calls[id].unsent {
            return;
        }
        let happened = match self.calls[id].operation.clone() {
            Operation::Get(path) => {
                self.objects.get(&path).map_or(Outcome::NotFound, |b| Outcome::Body(b.clone()))
            }
            Operation::Put { path, create: true, .. } if self.objects.contains_key(&path) => {
                Outcome::Exists
            }
            Operation::Put { path, bytes, .. } => {
                self.note(|| format!("stored {path}"));
                self.objects.insert(path.clone(), bytes.clone());
                self.writes.push((path, bytes));
                Outcome::Stored
            }
        };
        let call = &mut self.calls[id];
        if call.happened.is_none() || call.last_counts {
            call.happened = Some(happened);
        }
    }
}

/// A call that the caller waits for.
struct Pending {
    world: World,
    id: usize,
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut inside = self.world.inside();
        let call = &inside.calls[self.id];
        let answer_at = call.answer_at;
        if inside.tick >= answer_at {
            let outcome = call.answer.clone().or_else(|| call.happened.clone());
            return Poll::Ready(outcome.expect("a call that was answered before it happened"));
        }
        inside.at(answer_at, Due::Wake(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Pending {
    /// The caller is gone: what it asked for may have left it, or not.
    fn drop(&mut self) {
        let mut inside = self.world.inside();
        if inside.tick < inside.calls[self.id].answer_at && inside.random.random_ratio(1, 2) {
            inside.calls[self.id].unsent = true;
        }
    }
}

/// The store.
#[derive(Debug)]
pub(super) struct FaultyStore(pub(super) World);

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("simulation")
    }
}

impl FaultyStore {
    async fn call(&self, operation: Operation) -> Result<Bytes> {
        let path = match &operation {
            Operation::Get(path) | Operation::Put { path, .. } => path.clone(),
        };
        let id = self.0.inside().begin(operation);
        match (Pending { world: self.0.clone(), id }).await {
            Outcome::Body(bytes) => Ok(bytes),
            Outcome::Stored => Ok(Bytes::new()),
            Outcome::NotFound => Err(Error::NotFound { path, source: "simulated".into() }),
            Outcome::Exists => Err(Error::AlreadyExists { path, source: "simulated".into() }),
            Outcome::Failed => Err(Error::Generic { store: "simulation", source: path.into() }),
        }
    }
}

fn unused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "simulation".to_owned() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(unused("update")),
        };
        let path = location.to_string();
        self.call(Operation::Put { path, bytes: payload.into(), create }).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn get_opts(&self, location: &Path, _: GetOptions) -> Result<GetResult> {
        let bytes = self.call(Operation::Get(location.to_string())).await?;
        let size = bytes.len() as u64;
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        };
        let body = futures::stream::once(futures::future::ready(Ok(bytes))).boxed();
        let payload = GetResultPayload::Stream(body);
        Ok(GetResult { payload, meta, range: 0..size, attributes: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unused("multipart"))
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        futures::stream::once(futures::future::ready(Err(unused("delete")))).boxed()
    }

    /// Correctness never rests on LIST (R8): there is none.
    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        futures::stream::once(futures::future::ready(Err(unused("list")))).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unused("list"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unused("copy"))
    }
}

/// The store as the stream sees it.
pub(super) fn store_of(world: &World) -> Arc<dyn ObjectStore> {
    Arc::new(FaultyStore(world.clone()))
}
