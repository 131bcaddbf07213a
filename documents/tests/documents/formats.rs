//! Every format of every kind of statement, in both languages.

use std::path::Path;

use crate::support::{credit, draft, every, guarantee, hostile, long, sealed, short};
use tally_documents::{
    DocumentError, ErrorKind, Issue, statement_focus, statement_html, statement_parquet,
    statement_pdf, statement_xlsx,
};
use tally_settlement::Language;

const LANGUAGES: [Language; 2] = [Language::Zh, Language::En];

fn html(issue: &Issue<'_>) -> String {
    String::from_utf8(statement_html(issue).unwrap()).unwrap()
}

/// Whether the same statement written again has the same bytes; and no two that differ have.
#[test]
fn the_same_statement_gives_the_same_bytes() {
    type Write = fn(&Issue<'_>) -> Result<Vec<u8>, DocumentError>;
    let formats: [(&str, Write); 5] = [
        ("html", statement_html),
        ("xlsx", statement_xlsx),
        ("pdf", |issue| statement_pdf(issue, None)),
        ("parquet", statement_parquet),
        ("focus", statement_focus),
    ];
    for (format, write) in formats {
        let mut seen = Vec::new();
        for (name, statement) in every() {
            for language in LANGUAGES {
                let first = write(&sealed(&statement, language)).unwrap();
                let again = write(&sealed(&statement.clone(), language)).unwrap();
                assert!(first == again, "{format} of {name}: two runs differ");
                let draft = write(&draft(&statement, &[], language)).unwrap();
                // Without a section there is no row that could say that it is a draft.
                let has_rows = !matches!((format, name), ("parquet" | "focus", "nothing"));
                assert!(!has_rows || draft != first, "{format} of {name}: a draft says nothing");
                let labelled = !matches!(format, "parquet" | "focus");
                if language == Language::Zh || labelled {
                    assert!(!seen.contains(&first), "{format}: {name} is like another");
                    seen.push(first);
                }
            }
        }
    }
}

#[test]
fn a_page_of_html_needs_nothing_from_elsewhere() {
    for (name, statement) in every() {
        let page = html(&draft(&statement, &["a <note>".to_owned()], Language::Zh));
        // Between tags, texts of others may be like markup.
        for tag in page.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
            let element = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
            assert!(!matches!(element, "script" | "img" | "link" | "iframe"), "{name}: {tag}");
            assert!(!tag.contains("src=") && !tag.contains("href="), "{name}: {tag}");
        }
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(!style.contains("url(") && !style.contains("@import"), "{name}: {style}");
        assert!(page.contains("a &lt;note&gt;"), "{name}");
        assert_eq!(page.matches("</style>").count(), 1, "{name}");
        assert_eq!(page.matches("</title>").count(), 1, "{name}");
    }
}

#[test]
fn a_page_of_html_says_what_it_is() {
    let statement = credit();
    let page = html(&sealed(&statement, Language::Zh));
    for part in ["供应商结算单", "已封账", "应退合计", "大写金额", "负", "经办", "控制总数"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains(&statement.hash().unwrap()));
    assert!(!page.contains("草稿"), "a sealed statement is no draft");
    let page = html(&draft(&statement, &[], Language::En));
    for part in ["DRAFT", "Total credit", "minus", "Late usage", "A draft is not signed"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("Prepared by"), "nobody signs a draft");
    let page = html(&sealed(&guarantee(), Language::En));
    for part in [
        "Guaranteed minimum of the month",
        "Shortfall carried on",
        "45,678.00",
        "Advance payments, closing",
        "30,000.00",
        "7.1234",
        "All-units tiers",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// Whoever looks for a time of the machine finds none; `xlsx.rs` looks into the workbook.
#[test]
fn a_file_has_no_time_in_it() {
    let statement = short();
    let issue = sealed(&statement, Language::En);
    let pdf = String::from_utf8_lossy(&statement_pdf(&issue, None).unwrap()).into_owned();
    for time in ["CreationDate", "ModDate", "xmp:CreateDate", "/ID"] {
        assert!(!pdf.contains(time), "{time}");
    }
}

#[test]
fn long_tables_go_on_over_pages() {
    let pages = |lines| {
        let statement = long(lines);
        let pdf = statement_pdf(&sealed(&statement, Language::Zh), None).unwrap();
        String::from_utf8_lossy(&pdf).matches("/Type /Page\n").count()
    };
    let (few, many) = (pages(3), pages(200));
    assert!(few >= 1 && many > few + 4, "{few} and {many} pages");
}

#[test]
fn a_font_that_lacks_characters_is_refused_in_words() {
    let statement = short();
    let issue = sealed(&statement, Language::Zh);
    let folder = tempfile::tempdir().unwrap();
    let no_font = folder.path().join("font.ttf");
    std::fs::write(&no_font, "not a font").unwrap();
    let missing = folder.path().join("missing.ttf");
    for (path, word) in [(&no_font, "no TrueType"), (&missing, "missing.ttf")] {
        let error = statement_pdf(&issue, Some(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let latin = Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf");
    if latin.exists() {
        let error = statement_pdf(&issue, Some(latin)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let words = error.to_string();
        assert!(words.contains("U+4E0D") || words.contains("U+4E"), "{words}");
        assert!(words.contains("fonts-noto-cjk"), "{words}");
    }
}

/// A named file is used whatever else is there, and gives what the search gives that finds it.
#[test]
fn a_named_font_is_used() {
    let noto = Path::new("/usr/share/fonts/opentype/noto/NotoSerifCJK-Regular.ttc");
    if !noto.exists() {
        println!("skipped: {} is not here", noto.display());
        return;
    }
    let statement = hostile();
    let issue = sealed(&statement, Language::Zh);
    let named = statement_pdf(&issue, Some(noto)).unwrap();
    let text = String::from_utf8_lossy(&named).into_owned();
    assert!(text.contains("NotoSerifCJK"), "the font that was named is not in the file");
    assert!(!text.contains("NotoSansCJK"));
}
