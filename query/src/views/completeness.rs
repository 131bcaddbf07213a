//! What gateways say they sent beside what came, and the numbers that are missing.

use tally_schemas::Column;
use tally_schemas::ColumnType::{Int64, Text, Timestamp};

use super::{View, always, maybe};

const SOURCE: Column = always("source", Text, "Gateway");
const GATEWAY_EPOCH: Column =
    maybe("gateway_epoch", Int64, "Start number of the gateway process, where it tells one");

/// The views.
///
/// Numbers that never came are looked for in blocks of 64, a bit for each that came: a number that
/// comes twice sets the same bit. Only blocks that are not full, and those beside them, are looked
/// at one by one. A step from one of these to another is a gap where no block lies between them.
pub(super) const VIEWS: &[View] = &[
    View {
        schema: "settlement",
        name: "control_totals",
        comment: "What gateways say they sent in an hour, as it came",
        columns: &[
            SOURCE,
            GATEWAY_EPOCH,
            always("hour", Timestamp, "Start of the hour of completed_at, UTC"),
            always("events", Int64, "Events that it sent, each once"),
            maybe("first_seq", Int64, "First gateway_seq of these events"),
            maybe("last_seq", Int64, "Last gateway_seq of these events"),
            always("tokens", Int64, "Tokens of these events, all classes of them"),
            always("received_at", Timestamp, "When the log received the total, UTC"),
        ],
        sql: "\
SELECT source, gateway_epoch, hour, events, first_seq, last_seq,
  input + cached_input + cache_write_5m + cache_write_1h + output + audio_input + audio_output
    + image_input + image_output AS tokens,
  received_at
FROM control_totals",
    },
    View {
        schema: "settlement",
        name: "completeness",
        comment: "For each gateway and hour: what it says it sent, and what came",
        columns: &[
            SOURCE,
            GATEWAY_EPOCH,
            always("hour", Timestamp, "Start of the hour of completed_at, UTC"),
            maybe("sent", Int64, "Events by its control total; null where none came"),
            always("accepted", Int64, "Events that were accepted"),
            always("held_back", Int64, "Events in suspense, those that conflict with another aside, and corrections of others"),
            maybe("missing", Int64, "Events that did not come; below zero where more came"),
            always(
                "state",
                Text,
                "complete, missing, surplus, usage_differs, or no_total where no control total came",
            ),
        ],
        sql: "\
SELECT source, gateway_epoch, hour, sent, accepted, held_back, sent - accepted - held_back AS missing,
  CASE WHEN sent IS NULL THEN 'no_total'
    WHEN sent > accepted + held_back THEN 'missing'
    WHEN sent < accepted + held_back THEN 'surplus'
    WHEN held_back = 0 AND differs THEN 'usage_differs'
    ELSE 'complete' END AS state
FROM (
  SELECT source, gateway_epoch, hour, sum(sent) AS sent, sum(accepted) AS accepted, sum(held_back) AS held_back,
    sum(input) <> 0 OR sum(cached_input) <> 0 OR sum(cache_write_5m) <> 0 OR sum(cache_write_1h) <> 0
      OR sum(output) <> 0 OR sum(reasoning) <> 0 OR sum(audio_input) <> 0 OR sum(audio_output) <> 0
      OR sum(image_input) <> 0 OR sum(image_output) <> 0 OR sum(requests) <> 0 OR sum(images) <> 0
      OR sum(seconds) <> 0 OR sum(characters) <> 0 AS differs
  FROM (
    SELECT source, gateway_epoch, hour,
      CAST(NULL AS BIGINT) AS sent, sum(events) AS accepted, CAST(0 AS BIGINT) AS held_back,
      sum(input) AS input, sum(cached_input) AS cached_input, sum(cache_write_5m) AS cache_write_5m,
      sum(cache_write_1h) AS cache_write_1h, sum(output) AS output, sum(reasoning) AS reasoning,
      sum(audio_input) AS audio_input, sum(audio_output) AS audio_output, sum(image_input) AS image_input,
      sum(image_output) AS image_output, sum(requests) AS requests, sum(images) AS images,
      sum(seconds) AS seconds, sum(characters) AS characters
    FROM roll_ups.usage_by_gateway_hour GROUP BY source, gateway_epoch, hour
    UNION ALL
    SELECT source, gateway_epoch, date_trunc('hour', completed_at), NULL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM suspense
    WHERE source IS NOT NULL AND completed_at IS NOT NULL AND (status <> 'recycled' OR reason = 'correction_pending')
      AND reason <> 'conflicting_duplicate'
    UNION ALL
    SELECT source, gateway_epoch, hour, events, 0, 0,
      -input, -cached_input, -cache_write_5m, -cache_write_1h, -output, -reasoning, -audio_input, -audio_output,
      -image_input, -image_output, -requests, -images, -seconds, -characters
    FROM control_totals
  ) GROUP BY source, gateway_epoch, hour
)",
    },
    View {
        schema: "settlement",
        name: "missing_events",
        comment: "Numbers of gateways that never came, a row for each run of them",
        columns: &[
            SOURCE,
            GATEWAY_EPOCH,
            always("first_missing", Int64, "First gateway_seq that is missing"),
            always("last_missing", Int64, "Last gateway_seq of the run"),
            always("events", Int64, "Events that are missing"),
            always(
                "hour",
                Timestamp,
                "Hour whose control total has the first of them, else that of the event before, UTC",
            ),
            always("after", Timestamp, "End of the call before them, UTC"),
            always("before", Timestamp, "End of the call behind them, UTC"),
        ],
        sql: "\
WITH seen AS (
  SELECT source, gateway_epoch, gateway_seq AS seq, completed_at AS at
  FROM usage_events WHERE gateway_seq IS NOT NULL AND correction IS NULL
  UNION ALL
  SELECT source, gateway_epoch, gateway_seq, coalesce(completed_at, first_seen)
  FROM suspense WHERE gateway_seq IS NOT NULL AND source IS NOT NULL
), blocks AS (
  SELECT source, gateway_epoch, block, next_block FROM (
    SELECT source, gateway_epoch, block, bits,
      lag(block) OVER (PARTITION BY source, gateway_epoch ORDER BY block) AS last_block,
      lag(bits) OVER (PARTITION BY source, gateway_epoch ORDER BY block) AS last_bits,
      lead(block) OVER (PARTITION BY source, gateway_epoch ORDER BY block) AS next_block,
      lead(bits) OVER (PARTITION BY source, gateway_epoch ORDER BY block) AS next_bits
    FROM (
      SELECT source, gateway_epoch, seq / 64 AS block, bit_or(1 << (seq % 64)) AS bits
      FROM seen GROUP BY source, gateway_epoch, seq / 64
    )
  ) WHERE bits <> -1 OR last_bits IS NULL OR last_bits <> -1 OR last_block <> block - 1
    OR next_bits IS NULL OR next_bits <> -1 OR next_block <> block + 1
), told AS (
  SELECT source, gateway_epoch, min(first_seq) AS low, max(last_seq) AS high,
    min(hour) AS first_hour, max(hour) + INTERVAL '1 hour' AS last_hour
  FROM control_totals WHERE first_seq IS NOT NULL GROUP BY source, gateway_epoch
), numbers AS (
  SELECT source, gateway_epoch, seq, at, next_block, side,
    min(CASE WHEN side = 0 THEN seq END) OVER (PARTITION BY source, gateway_epoch) AS low,
    max(CASE WHEN side = 0 THEN seq END) OVER (PARTITION BY source, gateway_epoch) AS high
  FROM (
    SELECT seen.source, seen.gateway_epoch, seen.seq, seen.at, blocks.next_block, 0 AS side
    FROM blocks JOIN seen ON seen.source = blocks.source AND seen.seq / 64 = blocks.block
      AND (seen.gateway_epoch IS NOT DISTINCT FROM blocks.gateway_epoch)
    UNION ALL
    SELECT source, gateway_epoch, low - 1, first_hour, NULL, -1 FROM told
    UNION ALL
    SELECT source, gateway_epoch, high + 1, last_hour, NULL, 1 FROM told
  )
), steps AS (
  SELECT source, gateway_epoch, seq, at, next_block, side,
    lead(seq) OVER (PARTITION BY source, gateway_epoch ORDER BY seq, at) AS next_seq,
    lead(at) OVER (PARTITION BY source, gateway_epoch ORDER BY seq, at) AS next_at,
    lead(side) OVER (PARTITION BY source, gateway_epoch ORDER BY seq, at) AS next_side
  FROM numbers WHERE side = 0 OR low IS NULL OR (side < 0 AND seq < low) OR (side > 0 AND seq > high)
), gaps AS (
  SELECT source, gateway_epoch, seq + 1 AS first_missing, next_seq - 1 AS last_missing, at, next_at
  FROM steps WHERE next_seq > seq + 1
    AND (side <> 0 OR next_side <> 0 OR next_seq / 64 = seq / 64 OR next_seq / 64 = next_block)
)
SELECT gaps.source, gaps.gateway_epoch, gaps.first_missing, gaps.last_missing,
  gaps.last_missing - gaps.first_missing + 1 AS events,
  coalesce(min(totals.hour), date_trunc('hour', gaps.at)) AS hour,
  gaps.at AS after, gaps.next_at AS before
FROM gaps LEFT JOIN control_totals AS totals
  ON totals.source = gaps.source AND (totals.gateway_epoch IS NOT DISTINCT FROM gaps.gateway_epoch)
  AND totals.first_seq <= gaps.last_missing AND totals.last_seq >= gaps.first_missing
GROUP BY gaps.source, gaps.gateway_epoch, gaps.first_missing, gaps.last_missing, gaps.at, gaps.next_at",
    },
];
