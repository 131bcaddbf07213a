//! `tally doctor`: whether a process could run here, with this configuration, now; and what to do
//! where it could not. It changes nothing but probe objects in the store, which it takes away.

mod finding;
mod log_checks;
mod machine_checks;
mod presented_checks;
mod security_checks;
mod store_checks;
mod trace_checks;

use clap::Args;
use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};

use self::finding::{Finding, State};
use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::{Failure, FailureKind};
use crate::{config, stdout};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: DoctorArgs) -> Result<(), Failure> {
    let findings = match config::load_settings(global, &args.place.settings()) {
        // Nothing else can be known.
        Err(failure) => vec![Finding::wrong("configuration", failure.message)],
        Ok((config, settings)) => {
            let mut findings = vec![finding::of_settings(&settings)];
            findings.extend(security_checks::check(&config).await);
            // What is away takes its time to be found so.
            let (log, store, traces, presented) = tokio::join!(
                log_checks::check(&config),
                store_checks::check(&config),
                trace_checks::check(&config),
                presented_checks::check(&config)
            );
            findings.extend(log);
            findings.extend(store);
            findings.extend(presented);
            findings.extend(traces);
            findings.extend(machine_checks::check(&config));
            findings
        }
    };
    report(global, &findings)
}

fn report(global: &GlobalArgs, findings: &[Finding]) -> Result<(), Failure> {
    if global.json {
        stdout::print(serde_json::to_string_pretty(findings)?)?;
    } else {
        stdout::print(in_words(findings))?;
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    match count(State::Wrong) {
        0 => Ok(()),
        1 => Err(Failure::new(FailureKind::Check, "one thing is wrong")),
        wrong => Err(Failure::new(FailureKind::Check, format!("{wrong} things are wrong"))),
    }
}

fn in_words(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["", "looked at", "found"]);
    for finding in findings {
        let state = Cell::new(finding.state.name());
        let state = match finding.state {
            State::Ok | State::Untried => state,
            State::Warning | State::Wrong => state.add_attribute(Attribute::Bold),
        };
        let found = match &finding.advice {
            Some(advice) => format!("{}\n→ {advice}", finding.found),
            None => finding.found.clone(),
        };
        table.add_row([state, Cell::new(&finding.check), Cell::new(found)]);
    }
    table
}
