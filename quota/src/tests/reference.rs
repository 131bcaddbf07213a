//! Reference data: what is read, and what is refused with all its problems at once.

use std::sync::Arc;

use serde_json::json;

use super::world::*;
use crate::{
    LayerApproval, Package, PackageFile, PackageKind, PackageLayer, Period, Quota, QuotaReference,
    ReferenceError, ThresholdKind, Window,
};

fn problems(value: &serde_json::Value) -> Vec<String> {
    let error = QuotaReference::from_json(value).unwrap_err();
    error.problems.iter().map(|p| format!("{} {}", p.record, p.field)).collect()
}

#[test]
fn toml_and_json_say_the_same() {
    let text = r#"
        [[package]]
        id = "p"
        title = "流量包"
        title_en = "Package"
        price_micro = 9900000
        currency = "CNY"
        period = { months = 1 }
        anchor = "purchase"
        allowance_micro = 10000000000000
        weights = "default"
        kind = "paid"
        priority = 100
        directed = false
        models = ["*"]
        products = []
        rollover = "next_period"
        rollover_max_micro = 5
        caps = [{ window = "rolling_5h", limit_micro = 7 }]
        thresholds = [{ kind = "percent_used", at = 50 }]
        overflow = "payg"
        stacking = "queue"
        funded_by = "operator"
        region = ""
        example = false
        source = "test"
        valid_from = 2026-04-01
        known_from = 2026-04-01T00:00:00+08:00
        approved_by = "desk"
        approved_at = "2026-04-01T00:00:00+08:00"

        [[tariff]]
        id = "t"
        title = "t"
        title_en = "t"
        currency = "CNY"
        price_micro_per_million_points = 4000000
        source = "test"
        known_from = "2026-04-01"
        approved_by = "desk"
        approved_at = 2026-04-01

        [[account_threshold]]
        kind = "overrun"
        at = 1000000
    "#;
    let by_toml = QuotaReference::from_toml(text).unwrap();
    let package = &by_toml.packages()[0];
    assert_eq!((package.valid_from_ms, package.known_from_ms), (APRIL, APRIL));
    assert_eq!(package.caps[0].window, Window::Rolling5h);
    assert_eq!(package.region, None);
    let by_json = QuotaReference::from_json(&json!({
        "packages": [{
            "id": "p", "title": "流量包", "title_en": "Package", "price_micro": "9900000",
            "currency": "CNY", "period": {"months": 1, "days": null}, "anchor": "purchase",
            "allowance_micro": "10000000000000", "weights": "default", "kind": "paid",
            "priority": 100, "models": ["*"], "rollover": "next_period", "rollover_max_micro": 5,
            "caps": [{"window": "rolling_5h", "limit_micro": 7}],
            "thresholds": [{"kind": "percent_used", "at": 50}], "overflow": "payg",
            "stacking": "queue", "funded_by": "operator", "region": null, "source": "test",
            "valid_from": APRIL, "valid_to": null, "known_from": APRIL, "approved_by": "desk",
            "approved_at": APRIL,
        }],
        "tariffs": [{
            "id": "t", "title": "t", "title_en": "t", "currency": "CNY",
            "price_micro_per_million_points": 4_000_000, "source": "test",
            "known_from": "2026-04-01", "approved_by": "desk", "approved_at": "2026-04-01",
        }],
        "account_thresholds": [{"kind": "overrun", "at": "1000000"}],
    }))
    .unwrap();
    assert_eq!(by_toml, by_json);
}

#[test]
fn all_problems_come_at_once_with_record_and_field() {
    let value = json!({
        "packages": [
            package("p", json!({"price_micro": -1, "allowance_micro": -1, "colour": "red"})),
            package("p", json!({"rollover_max_micro": 5, "funded_by": "nobody",
                                "caps": [{"window": "hour"}, {"window": "day"}]})),
            package("p", json!({"thresholds": [{"kind": "percent_used", "at": 101},
                                               {"kind": "overrun", "at": 1},
                                               {"kind": "wish", "at": 1}]})),
            package("q", json!({"period": {"months": 1, "days": 1}, "kind": "gift"})),
            package("r", json!({"kind": "free", "price_micro": 0, "allowance_micro": 0,
                                "valid_to": -1, "approved_at": null})),
            package("s", json!({"period": null, "anchor": "calendar"})),
            package("t", json!({"period": {"hours": 1}, "anchor": "calendar",
                                "price_micro": i64::MAX, "allowance_micro": i64::MAX})),
            {"id": "u"},
        ],
        "tariffs": [tariff("t", json!({"price_micro_per_million_points": -1,
                                       "thresholds": [{"kind": "cap", "at": 80}]}))],
        "account_thresholds": [{"kind": "overflow_spent", "at": 0}],
        "colours": [],
    });
    let found = problems(&value);
    for expected in [
        "reference colours",
        "p colour",
        "p funded_by",
        "p rollover_max_micro",
        "p caps[0].window",
        "p caps[0].limit_micro",
        "p caps[1].limit_micro",
        "p thresholds[2].kind",
        "q period",
        "q kind",
        "s period",
        "u title",
        "u valid_from",
        "p price_micro",
        "p allowance_micro",
        "p known_from",
        "p thresholds[0]",
        "p thresholds[1]",
        "r allowance_micro",
        "r valid_to",
        "r approved_at",
        "t anchor",
        "t allowance_micro",
        "t price_micro_per_million_points",
        "t thresholds[0]",
        "account_thresholds thresholds[0]",
    ] {
        assert!(found.iter().any(|problem| problem == expected), "{expected} in {found:#?}");
    }
}

#[test]
fn text_that_is_no_toml_is_a_problem() {
    let error = QuotaReference::from_toml("[[package]\nid = 5").unwrap_err();
    assert_eq!(error.problems.len(), 1);
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn newer_reference_data_keeps_every_version() {
    let old = json!([package("m", json!({})), package("n", json!({}))]);
    let mut world = World::new(old.clone());
    world.buy("b1", "n", APRIL);
    let tariffs = json!([tariff("payg", json!({}))]);
    let cheaper = json!([package("m", json!({"price_micro": 1})), package("n", json!({}))]);
    for lost in [json!([package("m", json!({}))]), cheaper] {
        let lost = reference_of(lost, tariffs.clone());
        assert!(world.quota.set_reference(lost).is_err());
    }
    let mut more = old.as_array().unwrap().clone();
    more.insert(0, package("a", json!({})));
    more.push(package("n", json!({"known_from": 5, "price_micro": 7})));
    world.quota.set_reference(reference_of(more.into(), tariffs)).unwrap();
    let told = world.use_at(1, APRIL);
    assert_eq!(told.rows[0].package.as_deref(), Some("n"));
    assert_eq!(world.buy("b2", "n", APRIL).rows[0].amount, 7_000_000);
    let strangers = Quota::new(Arc::new(QuotaReference::default()));
    let mut strangers = strangers;
    let (name, bytes) = world.quota.all().next().unwrap();
    assert!(strangers.restore(name, &bytes).is_err());
}

/// Domain §1: id, micro-yuan, points, region, and whether the figures are made up.
const ON_SALE: [(&str, i64, i64, Option<&str>, bool); 12] = [
    ("bj-mobile-20m", 15_900_000, 20_000_000, Some("bj"), true),
    ("ha-mobile-50m", 35_900_000, 50_000_000, Some("ha"), true),
    ("hb-mobile-30m", 22_900_000, 30_000_000, Some("hb"), true),
    ("mobile-gift-500k", 0, 500_000, None, false),
    ("sh-telecom-trial-25m", 0, 25_000_000, Some("sh"), false),
    ("telecom-10m", 9_900_000, 10_000_000, None, false),
    ("telecom-40m", 29_900_000, 40_000_000, None, false),
    ("telecom-80m", 49_900_000, 80_000_000, None, false),
    ("telecom-dev-150m", 299_900_000, 150_000_000, None, false),
    ("telecom-dev-15m", 39_900_000, 15_000_000, None, false),
    ("telecom-dev-70m", 159_900_000, 70_000_000, None, false),
    ("unicom-opc-30m", 0, 30_000_000, Some("sh"), false),
];

#[test]
fn the_shipped_packages_are_those_of_the_domain() {
    let text = include_str!("../../../rating/data/packages.toml");
    let reference = QuotaReference::from_toml(text).unwrap();
    let packages: Vec<_> = reference
        .packages()
        .iter()
        .map(|p| {
            let points = p.allowance_micro / 1_000_000;
            assert_eq!(points * 1_000_000, p.allowance_micro, "{}", p.id);
            (p.id.as_str(), p.price_micro, points, p.region.as_deref(), p.example)
        })
        .collect();
    assert_eq!(packages, ON_SALE);
    for package in reference.packages() {
        let Package { id, kind, period, currency, .. } = package;
        let expected = match id.as_str() {
            "sh-telecom-trial-25m" => PackageKind::Trial,
            _ if package.price_micro == 0 => PackageKind::Free,
            _ => PackageKind::Paid,
        };
        assert_eq!((*kind, *period), (expected, Period::Months(1)), "{id}");
        assert_eq!((currency.code(), package.approved_by.is_some()), ("CNY", true), "{id}");
        let percents: Vec<i64> = package
            .thresholds
            .iter()
            .filter(|threshold| threshold.kind == ThresholdKind::PercentUsed)
            .map(|threshold| threshold.at)
            .collect();
        assert_eq!(percents, [50, 80, 100], "{id}");
    }
    // 250,000 and 400,000 points a yuan.
    let tariffs: Vec<_> = reference
        .tariffs()
        .iter()
        .map(|t| (t.id.as_str(), t.price_micro_per_million_points, t.region.as_deref()))
        .collect();
    let expected =
        [("sh-mobile-payg", 2_500_000, Some("sh")), ("sh-telecom-payg", 4_000_000, Some("sh"))];
    assert_eq!(tariffs, expected);
}

/// A package that says nothing of thresholds warns at 50, 80 and 100 percent; one that says that it
/// has none has none.
#[test]
fn thresholds_have_a_default() {
    let read = |fields: serde_json::Value| {
        let mut package = package("p", json!({}));
        package.as_object_mut().unwrap().remove("thresholds");
        for (field, value) in fields.as_object().unwrap() {
            package[field] = value.clone();
        }
        let reference = reference_of(json!([package]), json!([]));
        let thresholds = reference.packages()[0].thresholds.clone();
        thresholds.into_iter().map(|t| (t.kind, t.at)).collect::<Vec<_>>()
    };
    let default = [50, 80, 100].map(|at| (ThresholdKind::PercentUsed, at));
    assert_eq!(read(json!({})), default);
    assert_eq!(read(json!({"thresholds": null})), default);
    assert_eq!(read(json!({"thresholds": []})), []);
    let own = json!({"thresholds": [{"kind": "points_left", "at": 7}]});
    assert_eq!(read(own), [(ThresholdKind::PointsLeft, 7)]);
    let written = QuotaReference::from_toml(&layer_text(
        1,
        "known_from = \"2026-01-01\"\napproved_by = \"a\"\napproved_at = \"2026-01-01\"\n",
    ));
    let written = written.unwrap();
    let thresholds = &written.packages()[0].thresholds;
    assert_eq!(thresholds.iter().map(|t| (t.kind, t.at)).collect::<Vec<_>>(), default);
}

/// A package in TOML, with its price and when it is known.
fn layer_text(price_micro: i64, known: &str) -> String {
    format!(
        "\n[[package]]\nid = \"p\"\ntitle = \"p\"\ntitle_en = \"p\"\nprice_micro = {price_micro}\ncurrency = \"CNY\"\nperiod = {{ months = 1 }}\nanchor = \"purchase\"\nallowance_micro = 5\nweights = \"default\"\nkind = \"paid\"\npriority = 1\nmodels = [\"*\"]\nrollover = \"none\"\noverflow = \"payg\"\nstacking = \"queue\"\nfunded_by = \"operator\"\nsource = \"test\"\nvalid_from = \"2026-01-01\"\n{known}"
    )
}

/// Reads layers of one file each, with when they were approved.
fn read_layers(texts: &[(&str, Option<i64>)]) -> Result<QuotaReference, ReferenceError> {
    let layers: Vec<PackageLayer<'_>> = texts
        .iter()
        .map(|(text, approved)| PackageLayer {
            files: vec![PackageFile { name: "p.toml", text }],
            approval: approved.map(|at_ms| LayerApproval { by: "bob".to_owned(), at_ms }),
        })
        .collect();
    QuotaReference::read_layers(&layers)
}

#[test]
fn layers_add_versions_that_are_known_from_their_approval() {
    let read = read_layers;
    let shipped = layer_text(
        9,
        "known_from = \"2026-01-01\"\napproved_by = \"a\"\napproved_at = \"2026-01-01\"\n",
    );
    // Once more, and a change that says nothing of when it is known.
    let change = layer_text(7, "");
    let layered = read(&[(&shipped, None), (&shipped, Some(APRIL)), (&change, Some(APRIL + 1))]);
    let layered = layered.unwrap();
    let versions: Vec<(i64, Option<i64>)> =
        layered.packages().iter().map(|p| (p.price_micro, p.approved_at_ms)).collect();
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1], (7, Some(APRIL + 1)));
    assert_eq!(layered.packages()[1].known_from_ms, APRIL + 1);
    assert!(read(&[(&shipped, None)]).unwrap().is_kept_by(&layered).is_ok());
    assert_eq!(layered.changes_since(&read(&[(&shipped, None)]).unwrap()).len(), 1);
    // The version of the file with other figures is refused, with its place.
    let changed = shipped.replace("price_micro = 9", "price_micro = 8");
    let error = read(&[(&shipped, None), (&changed, Some(APRIL))]).unwrap_err();
    assert!(error.to_string().starts_with("p.toml, line 2, p: known_from: "), "{error}");
    let broken = shipped.replace("kind = \"paid\"", "kind = \"gift\"");
    let error = read(&[(&broken, None)]).unwrap_err();
    assert!(error.to_string().starts_with("p.toml, line 2, p: kind: "), "{error}");
}

/// Layers from before thresholds had a default: what said the same then, or did not, is so still, so
/// that no account's bucket loses its version.
#[test]
fn the_default_of_thresholds_makes_no_version_and_takes_none_away() {
    let with = |known: &str, thresholds: &str| layer_text(9, &format!("{known}{thresholds}"));
    let written = "thresholds = [{ kind = \"percent_used\", at = 50 }, { kind = \"percent_used\", at = 80 }, { kind = \"percent_used\", at = 100 }]\n";
    let (dated, none) = ("known_from = \"2026-01-01\"\n", "thresholds = []\n");
    let default = [50, 80, 100].map(|at| (ThresholdKind::PercentUsed, at)).to_vec();
    let nothing: Vec<(ThresholdKind, i64)> = Vec::new();
    let versions = |texts: [&str; 2]| {
        let layers = [(texts[0], Some(APRIL)), (texts[1], Some(APRIL + DAY))];
        let read = read_layers(&layers).unwrap();
        let thresholds = |package: &Package| {
            package.thresholds.iter().map(|t| (t.kind, t.at)).collect::<Vec<_>>()
        };
        read.packages().iter().map(|p| (p.known_from_ms, thresholds(p))).collect::<Vec<_>>()
    };
    let (plain, explicit, empty) = (with("", ""), with("", written), with("", none));
    let first = (APRIL, default.clone());
    // Absent, and then the same three in writing: two versions.
    let both = vec![first.clone(), (APRIL + DAY, default)];
    assert_eq!(versions([&plain, &explicit]), both);
    // Absent and an empty list, and the reverse: one, which says what was written first.
    assert_eq!(versions([&plain, &empty]), vec![first.clone()]);
    assert_eq!(versions([&empty, &plain]), vec![(APRIL, nothing.clone())]);
    assert_eq!(versions([&plain, &plain]), vec![first.clone()]);
    // The same with a known_from that both have, which is no change of a version.
    assert_eq!(versions([&with(dated, ""), &with(dated, none)]), vec![first.clone()]);
    // With one of its own the empty list is a version.
    let later = with("known_from = \"2026-05-01\"\n", none);
    let may = at("2026-05-01T00:00:00+08:00");
    assert_eq!(versions([&plain, &later]), vec![first, (may, nothing)]);

    // Accounts that bought both versions restore.
    let layers = [(plain.as_str(), Some(APRIL)), (explicit.as_str(), Some(APRIL + DAY))];
    let reference = || Arc::new(read_layers(&layers).unwrap());
    let mut world = World::with_tariffs(json!([]), json!([]));
    world.quota.set_reference(reference()).unwrap();
    world.buy("first", "p", APRIL);
    world.buy("second", "p", APRIL + DAY);
    let mut restored = Quota::new(reference());
    for (account, bytes) in world.quota.all() {
        restored.restore(account, &bytes).unwrap();
    }
    let again: Vec<_> = restored.all().map(|(_, bytes)| bytes.into_owned()).collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again, world.quota.all().map(|(_, b)| b.into_owned()).collect::<Vec<_>>());
}
