//! `settlement.margin` and its likes over cases that were worked out by hand; what is held back.

use serde_json::{Value, json};

use crate::feed::{engine_over, ms, rows, worked_out};

async fn lists(sql: &str, columns: &[&str]) -> Vec<Vec<Value>> {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let rows = rows(&engine, sql).await;
    rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect()
}

const SUMS: [&str; 5] = ["events", "currency", "retail_amount", "wholesale_amount", "margin"];

#[tokio::test]
async fn an_event_has_a_margin_where_both_sides_are_in_one_currency() {
    let columns = [
        "id",
        "retail_amount",
        "retail_currency",
        "wholesale_amount",
        "wholesale_currency",
        "margin",
    ];
    let sql =
        "SELECT * FROM settlement.margin_by_event WHERE account IN ('A', 'C', 'D') ORDER BY id";
    let expected = json!([
        ["a-1", "0.990000000000", "CNY", "6.000000000000", "CNY", "-5.010000000000"],
        ["a-2", "0.495000000000", "CNY", "11.000000000000", "CNY", "-10.505000000000"],
        ["a-3", "0.099000000000", "CNY", "0.500000000000", "USD", null],
        ["c-1", "1.000000000000", "CNY", "1.500000000000", "CNY", "-0.500000000000"],
        ["d-1", "0.000000000000", null, "0.006000000000", "CNY", "-0.006000000000"],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);
}

#[tokio::test]
async fn yuan_and_dollars_are_never_added() {
    let sql = "SELECT * FROM settlement.margin_by_package WHERE month = DATE '2026-11-01' ORDER BY package NULLS LAST, currency";
    let columns = [&["package"], SUMS.as_slice()].concat();
    // telecom-10m: A's 0.99 + 0.495 + 0.099 and G's 5.445; bought for 6 + 11 + 33 yuan and half a
    // dollar. What was bought for dollars was sold for yuan.
    let expected = json!([
        ["mobile-gift-500k", 17, "CNY", "0.000000000000", "0.340000000000", "-0.340000000000"],
        ["sh-telecom-payg", 1, "CNY", "1.000000000000", "1.500000000000", "-0.500000000000"],
        ["telecom-10m", 3, "CNY", "7.029000000000", "50.000000000000", "-42.971000000000"],
        ["telecom-10m", 1, "USD", "0.000000000000", "0.500000000000", "-0.500000000000"],
        [null, 2, "CNY", "0.000000000000", "0.018000000000", "-0.018000000000"],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);
}

#[tokio::test]
async fn margins_of_models_regions_channels_and_months() {
    let sql = "SELECT * FROM settlement.margin_by_model WHERE month = DATE '2026-11-01' ORDER BY model, currency";
    let columns = [&["vendor", "model"], SUMS.as_slice()].concat();
    let expected = json!([
        [
            "anthropic",
            "claude-opus",
            0,
            "CNY",
            "0.099000000000",
            "0.000000000000",
            "0.099000000000"
        ],
        [
            "anthropic",
            "claude-opus",
            1,
            "USD",
            "0.000000000000",
            "0.500000000000",
            "-0.500000000000"
        ],
        ["zhipu", "glm-5", 6, "CNY", "7.930000000000", "51.518000000000", "-43.588000000000"],
        [
            "cutout-example",
            "photo-cutout-1",
            17,
            "CNY",
            "0.000000000000",
            "0.340000000000",
            "-0.340000000000"
        ],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);

    let sql = "SELECT * FROM settlement.margin_by_region WHERE month = DATE '2026-11-01' ORDER BY region NULLS LAST, currency";
    let columns = [&["region"], SUMS.as_slice()].concat();
    let expected = json!([
        ["bj", 0, "CNY", "0.099000000000", "0.000000000000", "0.099000000000"],
        ["bj", 1, "USD", "0.000000000000", "0.500000000000", "-0.500000000000"],
        ["sh", 2, "CNY", "1.485000000000", "17.000000000000", "-15.515000000000"],
        [null, 21, "CNY", "6.445000000000", "34.858000000000", "-28.413000000000"],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);

    let sql =
        "SELECT * FROM settlement.margin_by_channel WHERE channel IS NOT NULL ORDER BY channel";
    let columns = [&["channel"], SUMS.as_slice()].concat();
    let expected = json!([
        ["app", 1, "CNY", "0.990000000000", "6.000000000000", "-5.010000000000"],
        ["web", 1, "CNY", "0.495000000000", "11.000000000000", "-10.505000000000"],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);

    let sql = "SELECT * FROM settlement.margin_by_month ORDER BY month, currency";
    let columns = [&["month"], SUMS.as_slice()].concat();
    let expected = json!([
        ["2026-10-01", 1, "CNY", "5.940000000000", "36.000000000000", "-30.060000000000"],
        ["2026-11-01", 23, "CNY", "8.029000000000", "51.858000000000", "-43.829000000000"],
        ["2026-11-01", 1, "USD", "0.000000000000", "0.500000000000", "-0.500000000000"],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);
}

#[tokio::test]
async fn what_is_held_back_grows_old() {
    let today = || {
        let now = jiff::Timestamp::now().as_millisecond();
        (now + 8 * 3_600_000).div_euclid(86_400_000)
    };
    let received = (ms("2026-11-22T10:00:01+08:00") + 8 * 3_600_000).div_euclid(86_400_000);
    let before = today() - received;
    let columns = ["reason", "model", "day", "events", "oldest", "age_days"];
    let found = lists("SELECT * FROM settlement.suspense_aging", &columns).await;
    let after = today() - received;
    let expected =
        json!(["unknown_model", "nobody-sells-this", "2026-11-22", 2, "2026-11-22T02:00:01Z"]);
    assert_eq!(json!(found[0][..5]), expected);
    let age = found[0][5].as_i64().unwrap();
    assert!(before <= age && age <= after, "{age} days, should be {before}");
    let sql = "SELECT DISTINCT CASE WHEN age_days <= 1 THEN '0-1 days' WHEN age_days <= 7 THEN '2-7 days' \
        WHEN age_days <= 30 THEN '8-30 days' ELSE 'over 30 days' END = age AS told FROM settlement.suspense_aging";
    assert_eq!(lists(sql, &["told"]).await, [[Value::Bool(true)]]);
}
