//! `tally settle statement` in every format as a user runs it: a month of usage through the
//! embedded log, drafts and sealed statements, read back by openpyxl, pdftotext and DuckDB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

const SEED: &str = "31";

const CONTRACTS: &str = r#"
[[terms]]
id = "VENDOR-2026"
vendor = "VENDOR"
model_pattern = "*"
FORM
currency = "CNY"
tax_ppm = 60000
rounding = "half_even"
valid_from = "2026-01-01"
"#;

/// Vendors, and what their contracts have beside the rest.
const FORMS: [(&str, &str); 10] = [
    ("deepseek", "form = \"price_list\""),
    (
        "qwen",
        "form = \"all_units_tiers\"\ntier_classes = [\"input\", \"output\"]\n\
         tiers = [{ above_units = 0, price_micro_per_million = 3000000 }, \
         { above_units = 100000, price_micro_per_million = 2000000 }]",
    ),
    (
        "zhipu",
        "form = \"share_of_net\"\nshare_ppm = 300000\nrevenue_tax_ppm = 60000\n\
         channel_fee_ppm = 100000\nbad_debt_ppm = 5000",
    ),
    ("bytedance", "form = \"price_list\""),
    (
        "moonshot",
        "form = \"cost_plus\"\nmarkup_ppm = 50000\n\
         prepaid = [{ paid_on = \"2026-02-10\", amount = \"5.00\" }]",
    ),
    ("minimax", "form = \"price_list\"\nminimum = \"1000.00\"\ncarry_months = 3"),
    ("baidu", "form = \"price_list\""),
    ("tencent", "form = \"price_list\""),
    ("anthropic", "form = \"price_list\""),
    ("openai", "form = \"price_list\""),
];

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("TALLY_LOG__DATA", folder.join("data"))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null());
    command
}

fn done(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A folder with the usage of some days of February and contracts for every vendor.
fn books(folder: &Path) {
    let mut contracts: String = FORMS
        .iter()
        .map(|(vendor, form)| CONTRACTS.replace("VENDOR", vendor).replace("FORM", form))
        .collect();
    contracts.push_str(
        "[[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"2026-02\"\nrate = \"7.0123\"\n\
         date = \"2026-02-28\"\nsource = \"test\"\n",
    );
    std::fs::write(folder.join("contracts.toml"), contracts).unwrap();
    done(folder, &["contract", "import", "contracts.toml", "--by", "lin"]);
    done(folder, &["contract", "approve", "contracts.toml", "--by", "chen"]);
    println!("seed {SEED}");
    // A few calls end before the start: none of them in January, which would have to be closed first.
    let start = "2026-02-03T00:00:00+08:00";
    let arguments = ["generate", "--events", "3000", "--seed", SEED, "--accounts", "50"];
    let span = ["--start", start, "--span", "120h", "--out", "kafka"];
    done(folder, &[&arguments[..], &span].concat());
    done(folder, &["aggregate", "--until-end"]);
}

fn statement<'a>(vendor: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let which = ["settle", "statement", "--vendor", vendor, "--period", "2026-02"];
    [&which[..], arguments].concat()
}

/// Writes every document of a vendor, and gives their number.
fn write_all(folder: &Path, out: &str, vendor: &str) -> usize {
    let file = |name: &str| format!("{out}/{vendor}.{name}");
    let json = done(folder, &statement(vendor, &["--format", "json"]));
    std::fs::write(folder.join(file("json")), json).unwrap();
    let mut documents: Vec<(&str, &str, String)> =
        vec![("parquet", "zh", file("parquet")), ("focus", "en", file("focus.csv"))];
    for format in ["csv", "xlsx", "html", "pdf"] {
        for language in ["zh", "en"] {
            documents.push((format, language, file(&format!("{language}.{format}"))));
        }
    }
    for (format, language, path) in &documents {
        let arguments = ["--format", format, "--lang", language, "--out", path];
        let printed = done(folder, &statement(vendor, &arguments));
        assert!(printed.is_empty(), "what goes to a file does not go to standard output too");
    }
    documents.len() + 1
}

fn checked(folder: &Path, documents: &Path) -> Output {
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_documents.py"))
        .arg(documents)
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap()
}

fn assert_checked(folder: &Path, documents: &str) {
    let output = checked(folder, &folder.join(documents));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path.as_ref()).unwrap()
}

#[test]
fn documents_have_what_the_statement_has_and_repeat_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    books(folder);

    // Two people refund something, which documents say with both names.
    let refund = ["settle", "adjust", "--vendor", "minimax", "--period", "2026-02"];
    let reason = ["--reason", "complaint_refund", "--amount", "-1.25", "--note", "ticket 4711"];
    done(folder, &[&refund[..], &reason, &["--by", "ann"]].concat());
    done(folder, &["settle", "adjust", "--approve", "ADJ-000000", "--by", "boss"]);

    std::fs::create_dir(folder.join("drafts")).unwrap();
    write_all(folder, "drafts", "minimax");
    assert_checked(folder, "drafts");

    // Sealed, with tiers, a minimum and dollars; and one of them twice.
    done(folder, &["settle", "close", "--period", "2026-02", "--by", "ann"]);
    done(folder, &["settle", "approve", "--period", "2026-02", "--by", "boss"]);
    for out in ["sealed", "again"] {
        std::fs::create_dir(folder.join(out)).unwrap();
    }
    let mut written = 0;
    for vendor in ["qwen", "minimax", "anthropic"] {
        written += write_all(folder, "sealed", vendor);
    }
    assert_checked(folder, "sealed");
    write_all(folder, "again", "minimax");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder.join("again")).unwrap() {
        let again = entry.unwrap().path();
        let name = again.file_name().unwrap();
        assert!(read(&again) == read(folder.join("sealed").join(name)), "{name:?} differs");
        let draft = read(folder.join("drafts").join(name));
        assert!(read(&again) != draft, "{name:?} does not say that it is sealed");
        compared += 1;
    }
    assert_eq!((written, compared), (33, 11));
    let printed = done(folder, &statement("qwen", &["--format", "xlsx"]));
    assert!(printed == read(folder.join("sealed/qwen.zh.xlsx")), "standard output differs");

    reports_come_to_the_statements(folder);
    nothing_is_half_written(folder);
}

/// What vendors are told, in every format: the same figures, the same bytes again, and nobody's name.
fn reports_come_to_the_statements(folder: &Path) {
    let report = |vendor: &str, arguments: &[&str]| {
        let which = ["settle", "report", "--vendor", vendor, "--period", "2026-02"];
        done(folder, &[&which[..], arguments].concat())
    };
    let json = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    // The prices of the first one begin later, so that it has no statement.
    let [(none, _), vendors @ ..] = &FORMS;
    let refused =
        command(folder, &["settle", "report", "--vendor", *none, "--period", "2026-02"]).output();
    let words = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(words.contains("has no statement in the sealed period"), "{words}");
    for (vendor, _) in vendors {
        let told = json(report(vendor, &["--format", "json"]));
        let statement = json(done(folder, &statement(vendor, &["--format", "json"])));
        assert_eq!(told["total"], statement["statement"]["total"], "{vendor}");
        assert_eq!(told["statement"], statement["hash"], "{vendor}");
        for (section, of) in told["sections"]
            .as_array()
            .unwrap()
            .iter()
            .zip(statement["statement"]["sections"].as_array().unwrap())
        {
            let last = section["steps"].as_array().unwrap().last().unwrap();
            assert_eq!((&last["step"], &last["amounts"]), (&"total".into(), &of["total"]));
        }
        let csv = String::from_utf8(report(vendor, &[])).unwrap();
        assert!(csv.contains(*vendor) && csv.lines().count() > 1, "{csv}");
        for format in ["html", "pdf", "xlsx"] {
            for language in ["zh", "en"] {
                let arguments = ["--format", format, "--lang", language];
                let bytes = report(vendor, &arguments);
                assert!(bytes == report(vendor, &arguments), "{vendor} {format} differs");
                if format == "html" {
                    let page = String::from_utf8(bytes).unwrap();
                    let title =
                        if language == "zh" { "供应商分成报告" } else { "revenue-share" };
                    assert!(page.contains(title) && page.contains(*vendor), "{vendor}");
                    for name in ["boss", "ann", "Cut-off", "数据截止"] {
                        assert!(!page.contains(&format!(">{name}")), "{vendor}: {name}");
                    }
                }
            }
        }
    }
}

/// What cannot be written leaves nothing, and keeps what was there.
fn nothing_is_half_written(folder: &Path) {
    let out = folder.join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("kept.pdf"), "as it was").unwrap();
    std::fs::write(out.join("no-font.ttf"), "not a font").unwrap();
    for (code, word, arguments) in [
        (
            2,
            "no-font.ttf",
            vec!["--format", "pdf", "--font", "out/no-font.ttf", "--out", "out/kept.pdf"],
        ),
        (2, "nowhere", vec!["--format", "html", "--out", "nowhere/statement.html"]),
    ] {
        let output = command(folder, &statement("qwen", &arguments)).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}");
        assert!(words.contains(word), "{words}");
    }
    assert_eq!(read(out.join("kept.pdf")), b"as it was");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "something was left behind");
}
