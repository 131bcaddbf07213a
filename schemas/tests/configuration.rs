//! The configuration: precedence, origins, errors that help, and its written reference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tally_schemas::{Config, ConfigError, Origin, Setting};

const NO_ENVIRONMENT: [(&str, &str); 0] = [];

/// A file of this test process.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn flag(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn setting<'s>(settings: &'s [Setting], key: &str) -> &'s Setting {
    settings.iter().find(|setting| setting.key == key).unwrap()
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let path = file(
        "precedence.toml",
        "[aggregate]\nfreshness_ms = 1\nlateness_ms = 2\nepoch_max_events = 3\n",
    );
    let environment = [
        ("TALLY_AGGREGATE__LATENESS_MS", "20"),
        ("TALLY_AGGREGATE__EPOCH_MAX_EVENTS", "30"),
        ("TALLY_CACHE", "not a setting"),
        ("PATH", "neither"),
    ];
    let flags = [flag("aggregate.epoch_max_events", "300")];
    let (config, settings) = Config::load_with(Some(&path), environment, &flags).unwrap();
    let stream = &config.aggregate;
    assert_eq!((stream.freshness_ms, stream.lateness_ms, stream.epoch_max_events), (1, 20, 300));
    assert_eq!(stream.dedupe_horizon_days, Config::default().aggregate.dedupe_horizon_days);
    for (key, value, origin) in [
        ("aggregate.freshness_ms", "1", Origin::File(path.display().to_string())),
        (
            "aggregate.lateness_ms",
            "20",
            Origin::Environment("TALLY_AGGREGATE__LATENESS_MS".to_owned()),
        ),
        ("aggregate.epoch_max_events", "300", Origin::Flag),
        ("aggregate.dedupe_horizon_days", "400", Origin::Default),
    ] {
        let found = setting(&settings, key);
        assert_eq!((found.value.as_str(), &found.origin), (value, &origin), "{key}");
    }
}

#[test]
fn nothing_given_is_the_defaults() {
    let (config, settings) = Config::load_with(None, NO_ENVIRONMENT, &[]).unwrap();
    assert_eq!(config, Config::default());
    assert!(settings.iter().all(|setting| setting.origin == Origin::Default));
    assert!(settings.is_sorted_by(|left, right| left.key < right.key));
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let path = file("unknown.toml", "[aggregate]\nfreshnes_ms = 5\n");
    let message = Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).unwrap_err().to_string();
    assert!(message.contains("aggregate.freshnes_ms"), "{message}");
    assert!(message.contains("unknown.toml"), "{message}");
    assert!(message.ends_with("did you mean aggregate.freshness_ms?"), "{message}");

    for (name, nearest) in [
        ("TALLY_AGREGATE__FRESHNESS_MS", "aggregate.freshness_ms"),
        ("TALLY_STORE__FRESHNESS_MS", "aggregate.freshness_ms"),
        ("TALLY_QUERY__PG_LISTN", "query.pg_listen"),
        ("TALLY_LOG__KAFAK", "log.kafka"),
    ] {
        let error = Config::load_with(None, [(name, "1")], &[]).unwrap_err();
        let ConfigError::UnknownKey { origin, nearest: Some(found), .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((origin.as_str(), found.as_str()), (name, nearest));
    }
    let path = file("section.toml", "[aggregat]\n");
    assert!(Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).is_err());
    let path = file("known_section.toml", "[aggregate]\n[log.kafka_options]\n");
    assert!(Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).is_ok());
}

#[test]
fn a_value_of_the_wrong_type_names_key_and_origin() {
    for (text, words) in [
        ("[http]\nlisten = 8080\n", "http.listen in "),
        ("[aggregate]\nfreshness_ms = \"10\"\n", "expected a whole number, found \"10\""),
        ("[aggregate]\nfreshness_ms = 1.5\n", "expected a whole number, found 1.5"),
        ("[aggregate]\nfreshness_ms = -1\n", "aggregate.freshness_ms in "),
        ("[log]\npartitions = 5000000000\n", "log.partitions in "),
        ("[log\n", "wrong.toml: "),
    ] {
        let path = file("wrong.toml", text);
        let message = Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("wrong.toml"), "{text}: {message}");
    }
    let environment = [("TALLY_AGGREGATE__FRESHNESS_MS", "soon")];
    let message = Config::load_with(None, environment, &[]).unwrap_err().to_string();
    assert!(message.starts_with("aggregate.freshness_ms in TALLY_AGGREGATE__FRESHNESS_MS:"));
    let message =
        Config::load_with(Some(Path::new("no/such/tally.toml")), NO_ENVIRONMENT, &[]).unwrap_err();
    assert!(message.to_string().starts_with("no/such/tally.toml: "));
}

#[test]
fn texts_stay_texts_even_where_they_look_like_numbers() {
    let environment = [("TALLY_LOG__GROUP", "42"), ("TALLY_LOG__DATA", "true")];
    let (config, _) = Config::load_with(None, environment, &[]).unwrap();
    assert_eq!((config.log.group.as_str(), config.log.data.as_str()), ("42", "true"));
}

#[test]
fn kafka_options_are_free_and_their_secrets_are_not_shown() {
    let path = file(
        "kafka.toml",
        "[log.kafka_options]\n\"security.protocol\" = \"SASL_SSL\"\n\"sasl.password\" = \"hunter2\"\n\"fetch.min.bytes\" = 100\n",
    );
    let environment = [("TALLY_LOG__KAFKA_OPTIONS__SSL_CA_LOCATION", "ca.pem")];
    let (config, settings) = Config::load_with(Some(&path), environment, &[]).unwrap();
    let wanted: BTreeMap<String, String> = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.password", "hunter2"),
        ("fetch.min.bytes", "100"),
        ("ssl.ca.location", "ca.pem"),
    ]
    .into_iter()
    .map(|(key, value)| flag(key, value))
    .collect();
    assert_eq!(config.log.kafka_options, wanted);
    let shown = serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("hunter2"));
    assert_eq!(setting(&settings, "log.kafka_options.sasl.password").value, "(hidden)");
    let origin = &setting(&settings, "log.kafka_options.ssl.ca.location").origin;
    assert!(matches!(origin, Origin::Environment(_)));
    // What the chart does not take either: values.schema.json.
    for option in [
        "sasl.jaas.config",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "ssl.key.pem",
    ] {
        let name = format!("TALLY_LOG__KAFKA_OPTIONS__{}", option.replace('.', "_").to_uppercase());
        let (_, settings) = Config::load_with(None, [(name.as_str(), "hunter2")], &[]).unwrap();
        let shown = setting(&settings, &format!("log.kafka_options.{option}"));
        assert_eq!(shown.value, "(hidden)", "{option}");
    }
}

#[test]
fn options_of_s3_are_known_ones_and_their_secrets_are_not_shown() {
    let text = "[store.s3_options]\nregion = \"cn-north-1\"\nsecret_access_key = \"hunter2\"\nvirtual_hosted_style_request = true\n";
    let path = file("s3.toml", text);
    let environment = [
        ("TALLY_STORE__S3_OPTIONS__ACCESS_KEY_ID", "AKIA1"),
        ("TALLY_STORE__S3_OPTIONS__SESSION_TOKEN", "hunter3"),
    ];
    let (config, settings) = Config::load_with(Some(&path), environment, &[]).unwrap();
    let wanted: BTreeMap<String, String> = [
        ("region", "cn-north-1"),
        ("access_key_id", "AKIA1"),
        ("secret_access_key", "hunter2"),
        ("session_token", "hunter3"),
        ("virtual_hosted_style_request", "true"),
    ]
    .into_iter()
    .map(|(key, value)| flag(key, value))
    .collect();
    assert_eq!(config.store.s3_options, wanted);
    let shown = serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(setting(&settings, "store.s3_options.access_key_id").value, "AKIA1");
    assert_eq!(setting(&settings, "store.s3_options.session_token").value, "(hidden)");
    for (name, nearest) in [
        ("secret_acces_key", "store.s3_options.secret_access_key"),
        ("endpoint", "store.s3_options.endpoint_url"),
        ("aws_region", "store.s3_options.region"),
    ] {
        let path = file("s3_unknown.toml", &format!("[store.s3_options]\n{name} = \"hunter4\"\n"));
        let message = Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).unwrap_err().to_string();
        assert!(message.contains(&format!("store.s3_options.{name}")), "{message}");
        assert!(message.ends_with(&format!("did you mean {nearest}?")), "{message}");
        assert!(!message.contains("hunter4"), "{message}");
    }
    // What correctness rests on is not left to anybody.
    let path = file("s3_unsafe.toml", "[store.s3_options]\nconditional_put = \"disabled\"\n");
    assert!(Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).is_err());
    let path = file("s3_typed.toml", "[store.s3_options]\nsecret_access_key = [\"hunter5\"]\n");
    let message = Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).unwrap_err().to_string();
    assert!(message.contains("expected a text") && !message.contains("hunter5"), "{message}");
}

#[test]
fn webhooks_are_a_list_and_their_secrets_are_not_shown() {
    let list = r#"[{url = "https://a.example/hook", secret = "whsec_hunter2"}]"#;
    let path = file(
        "webhooks.toml",
        "[[alerts.webhooks]]\nurl = \"https://b.example/\"\nsecret = \"whsec_hunter3\"\nkinds = [\"cap\"]\n",
    );
    let (config, settings) = Config::load_with(Some(&path), NO_ENVIRONMENT, &[]).unwrap();
    assert_eq!(config.alerts.webhooks[0].kinds, ["cap"]);
    assert_eq!(config.alerts.webhooks[0].secret.expose(), "whsec_hunter3");
    let shown = &setting(&settings, "alerts.webhooks").value;
    assert!(shown.contains("https://b.example/") && shown.contains("(hidden)"), "{shown}");
    let everything = format!("{config:?} {} {settings:?}", toml::to_string(&config).unwrap());
    assert!(!everything.contains("hunter"), "{everything}");
    let environment = [("TALLY_ALERTS__WEBHOOKS", list)];
    let (config, settings) = Config::load_with(Some(&path), environment, &[]).unwrap();
    assert_eq!(config.alerts.webhooks[0].url, "https://a.example/hook");
    let origin = &setting(&settings, "alerts.webhooks").origin;
    assert!(matches!(origin, Origin::Environment(_)));
    for wrong in [
        "whsec_hunter2",
        "[1]",
        r#"[{url = "https://a.example/"}]"#,
        r#"[{url = "https://a.example/", secret = "whsec_hunter2", kind = ["cap"]}]"#,
    ] {
        let environment = [("TALLY_ALERTS__WEBHOOKS", wrong)];
        let error = Config::load_with(None, environment, &[]).unwrap_err().to_string();
        assert!(error.starts_with("alerts.webhooks in TALLY_ALERTS__WEBHOOKS: "), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

/// One row a setting: key, default, comment, as the source of `config.rs` has them.
fn reference() -> String {
    let (_, settings) = Config::load_with(None, NO_ENVIRONMENT, &[]).unwrap();
    let mut out = String::from(
        "# Configuration\n\n\
         Defaults, then `tally.toml` (or the file of `--config`), then the environment, then flags. \
         A key `section.name` is the variable `TALLY_SECTION__NAME`. `tally config show` prints the \
         effective value of each with its origin; an unknown key is an error that names the nearest \
         known one.\n\n\
         This page is generated from `schemas/src/config.rs`: \
         `TALLY_UPDATE_DOCS=1 cargo test -p tally-schemas --test configuration`.\n",
    );
    let source = include_str!("../src/config.rs");
    let (mut section, mut comment) = (String::new(), String::new());
    let mut documented = 0;
    for line in source.lines().take_while(|line| !line.contains("pub enum Origin")) {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("/// ") {
            comment =
                if comment.is_empty() { text.to_owned() } else { format!("{comment} {text}") };
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            section =
                name.trim_end_matches(" {").strip_suffix("Config").unwrap_or("").to_lowercase();
            if !section.is_empty() {
                write!(
                    out,
                    "\n## `{section}`\n\n{comment}\n\n| key | default | |\n| --- | --- | --- |\n"
                )
                .unwrap();
            }
            comment.clear();
        } else if let Some(field) =
            line.strip_prefix("pub ").filter(|rest| !section.is_empty() && !rest.starts_with("fn "))
        {
            let key = format!("{section}.{}", field.split(':').next().unwrap());
            let default = match settings.iter().find(|setting| setting.key == key) {
                Some(setting) if setting.value.is_empty() => "empty".to_owned(),
                Some(setting) => {
                    documented += 1;
                    format!("`{}`", setting.value)
                }
                None => "none".to_owned(),
            };
            writeln!(out, "| `{key}` | {default} | {comment} |").unwrap();
            comment.clear();
        } else if !line.starts_with('#') {
            comment.clear();
        }
    }
    assert!(documented > 20, "{documented} settings found in the source");
    for setting in settings {
        assert!(out.contains(&format!("| `{}` |", setting.key)), "{} is missing", setting.key);
    }
    out
}

#[test]
fn the_reference_lists_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let wanted = reference();
    if std::env::var_os("TALLY_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/configuration.md is out of date: TALLY_UPDATE_DOCS=1 cargo test -p tally-schemas --test configuration"
    );
}
