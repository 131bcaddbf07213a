//! The stream: usage events of one partition in, exactly-once epochs out.
//!
//! [`core`] is a deterministic state machine without I/O ([`Partition`]): it decodes, validates,
//! dedupes, sums windows and gathers rows until an epoch is closed. [`ledger`] is the protocol by
//! which an epoch becomes durable at once; [`owner`] runs it against object storage. What spans
//! partitions is added up by a second stage ([`SecondStage`]).

mod aggregator;
mod announcer;
mod column_chunk;
mod column_rows;
mod core;
mod crash_point;
mod decimal_column;
mod dictionary_column;
mod dry_run;
mod epoch_files;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzzed;
mod index_encoding;
pub mod ledger;
mod models;
mod notice_topic;
mod object_read;
mod outbox;
pub mod owner;
mod packed_column;
mod parquet_file;
mod partition_move;
mod planted;
mod prefix_column;
mod quota_answers;
mod quota_desk;
mod reference_feed;
mod references;
mod reporting_edge;
#[cfg(test)]
mod simulation;
#[cfg(feature = "stages")]
pub mod stages;
mod store;
mod stored_accounts;
mod stored_windows;
mod stream_place;
mod stream_status;
mod system_edge;
mod ticker;
mod turns;
mod worker;

pub use aggregator::{Aggregator, Extent, Unready};
pub use announcer::announcement;
pub use core::{
    AlertNotice, ClosedEpoch, HeldReading, Need, NeedSegments, Notice, Partition, PartitionConfig,
    QuotaPicture, ReferenceData, ReferenceLost, SegmentRef, SpareColumns, StatusNotice,
};

pub use crash_point::crash_point;
pub use dry_run::{DryRun, RatedLine};
pub use epoch_files::{EncodedEpoch, encode_epoch, object_path};
pub use error::{AggregateError, ErrorKind};
pub use models::{
    BudgetGauge, BudgetOwner, EpochCounts, Relay, SecondStage, StageConfig, StageFigures,
    StageParts, StageStatus, stored_stage,
};
pub use notice_topic::{LogTopic, NoticeTopic, NoticeTopics, ReadBack};
pub use object_read::{read_object, read_objects};
pub use owner::{Edge, Ownership, Surroundings, TracedEpoch, WaitingPlace};
pub use parquet_file::{NewFile, ROW_GROUP_ROWS, delta_stats, write_file, writer_properties};
pub use partition_move::{MovePlan, MoveReport, PartitionMove, Rehearsal, not_added, unread};
pub use quota_answers::{NoQuota, PartitionOwner};
pub use reference_feed::ReferenceFeed;
pub use references::{Found, References};
pub use store::{open_store, probe};
pub use stored_accounts::stored_accounts;
pub use stored_windows::stored_windows;
pub use stream_place::{StreamPlace, decision_of, intent_of, stream_of};
pub use stream_status::{PartitionStatus, StreamCounters, StreamStatus, Times, Waiting};
pub use system_edge::{HearsTraces, SystemEdge};
