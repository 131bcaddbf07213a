//! What gateways say they sent beside what came, and the numbers that are missing.

use tally_schemas::Column;
use tally_schemas::ColumnType::{Int64, Text, Timestamp};

use super::{View, always, maybe};

const SOURCE: Column = always("source", Text, "Gateway");
const GATEWAY_EPOCH: Column =
    maybe("gateway_epoch", Int64, "Start number of the gateway process, where it tells one");

/// The views.
///
/// Numbers that never came lie between runs of those that did. A run is of one file: those of
/// several lie within each other, so a gap begins behind the highest number that came before it.
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
  SELECT source, gateway_epoch, first_seq, last_seq, first_at, last_at
  FROM roll_ups.gateway_runs WHERE first_seq IS NOT NULL
  UNION ALL
  SELECT source, gateway_epoch, gateway_seq AS first_seq, gateway_seq AS last_seq,
    coalesce(completed_at, first_seen) AS first_at, coalesce(completed_at, first_seen) AS last_at
  FROM suspense WHERE gateway_seq IS NOT NULL AND source IS NOT NULL
), told AS (
  SELECT source, gateway_epoch, min(first_seq) AS low, max(last_seq) AS high,
    min(hour) AS first_hour, max(hour) + INTERVAL '1 hour' AS last_hour
  FROM control_totals WHERE first_seq IS NOT NULL GROUP BY source, gateway_epoch
), came AS (
  SELECT source, gateway_epoch, min(first_seq) AS low, max(last_seq) AS high
  FROM seen GROUP BY source, gateway_epoch
), ends AS (
  SELECT told.source, told.gateway_epoch, told.low, told.high, told.first_hour, told.last_hour,
    came.low AS came_low, came.high AS came_high
  FROM told LEFT JOIN came ON came.source = told.source AND (came.gateway_epoch IS NOT DISTINCT FROM told.gateway_epoch)
), runs AS (
  SELECT source, gateway_epoch, first_seq, last_seq, first_at, last_at FROM seen
  UNION ALL
  SELECT source, gateway_epoch, low - 1 AS first_seq, low - 1 AS last_seq, first_hour AS first_at, first_hour AS last_at FROM ends
  WHERE came_low IS NULL OR low - 1 < came_low
  UNION ALL
  SELECT source, gateway_epoch, high + 1 AS first_seq, high + 1 AS last_seq, last_hour AS first_at, last_hour AS last_at FROM ends
  WHERE came_high IS NULL OR high + 1 > came_high
), steps AS (
  SELECT source, gateway_epoch, first_seq, first_at, max(last_seq) OVER (
    PARTITION BY source, gateway_epoch ORDER BY first_seq, first_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
  FROM runs
), gaps AS (
  SELECT steps.source, steps.gateway_epoch, steps.reached + 1 AS first_missing, steps.first_seq - 1 AS last_missing,
    max(runs.last_at) AS at, steps.first_at AS next_at
  FROM steps JOIN runs ON runs.source = steps.source AND runs.last_seq = steps.reached
    AND (runs.gateway_epoch IS NOT DISTINCT FROM steps.gateway_epoch)
  WHERE steps.first_seq > steps.reached + 1
  GROUP BY steps.source, steps.gateway_epoch, steps.reached, steps.first_seq, steps.first_at
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
