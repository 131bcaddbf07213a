//! By what a period is settled: the terms and rates that are approved in the store, or for a draft
//! a file on top of them.

use std::path::{Path, PathBuf};

use clap::Args;
use tally_query::{QueryEngine, Settlement, SettlementTerms, TermsOrigin};
use tally_reference::Whole;
use tally_settlement::{Contracts, EXAMPLE_CONTRACTS, PriceLists};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, file_failure};
use crate::{config, reference, sql_session};

/// By which terms a draft is made.
#[derive(Debug, Args)]
pub(crate) struct ContractArgs {
    /// Settlement terms as TOML that nobody has approved yet, for a draft: they come on top of what
    /// is approved [default: what is approved; before that, the example that ships with Tally]
    #[arg(long, value_name = "FILE")]
    pub(crate) contracts: Option<PathBuf>,
}

/// Terms, and the prices by which stored amounts are proved.
pub(crate) struct SettledBy {
    pub(crate) terms: SettlementTerms,
    pub(crate) prices: PriceLists,
}

impl SettledBy {
    /// Reads what is approved, and the file of a draft.
    pub(crate) async fn read(
        global: &GlobalArgs,
        store: &StoreArgs,
        draft: Option<&Path>,
    ) -> Result<Self, Failure> {
        let config = config::load(global, &store.settings())?;
        let wholes = reference::open_to_read(&config)?.every_whole().await?;
        let mut prices = PriceLists::default();
        // The prices that events may have been rated by: every edition, as it was read at every time.
        for whole in &wholes {
            for known_at_ms in whole.readings_ms() {
                prices.add_as_known(&whole.book, known_at_ms);
            }
        }
        let newest = wholes.last().ok_or_else(|| Failure::internal("there is no edition"))?;
        let terms = match draft {
            Some(path) => draft_terms(newest, path, &prices)?,
            None if newest.terms.counting().next().is_some() => {
                let known_at_ms = newest.known_at_ms(reference::now_ms());
                let edition = newest.edition.read_at(known_at_ms).to_string();
                let origin = TermsOrigin::Approved(edition);
                SettlementTerms { contracts: newest.terms.clone(), origin }
            }
            None => {
                let name = "the shipped example";
                let contracts = Contracts::parse(name, EXAMPLE_CONTRACTS)
                    .map_err(|bad| Failure::data(bad.to_string()))?;
                linted(name, &contracts, &prices)?;
                SettlementTerms { contracts, origin: TermsOrigin::Example }
            }
        };
        Ok(Self { terms, prices })
    }

    /// A settlement over an engine.
    pub(crate) fn over(self, engine: &QueryEngine) -> Settlement<'_> {
        Settlement::new(engine, self.terms, self.prices)
    }

    /// What a reader of a draft should know about its terms.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.terms.origin {
            TermsOrigin::Approved(_) => None,
            TermsOrigin::Draft(name) => {
                Some(format!("by terms of {name} that nobody has approved"))
            }
            TermsOrigin::Example => Some(
                "by the example terms that ship with Tally: tally contract import yours".to_owned(),
            ),
        }
    }
}

/// What is approved and a file on top of it.
fn draft_terms(
    newest: &Whole,
    path: &Path,
    prices: &PriceLists,
) -> Result<SettlementTerms, Failure> {
    let bytes = std::fs::read(path).map_err(|error| file_failure(path, &error))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| Failure::data(format!("{} is not UTF-8: {error}", path.display())))?;
    let name = path.display().to_string();
    let contracts = newest
        .terms
        .with_draft(&name, &text, reference::now_ms())
        .map_err(|bad| Failure::data(bad.to_string()))?;
    linted(&name, &contracts, prices)?;
    Ok(SettlementTerms { contracts, origin: TermsOrigin::Draft(name) })
}

fn linted(name: &str, contracts: &Contracts, prices: &PriceLists) -> Result<(), Failure> {
    let findings = contracts.lint(&prices.vendors());
    if findings.is_empty() {
        return Ok(());
    }
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(Failure::data(format!("{name} cannot settle money:\n{}", findings.join("\n"))))
}

/// Opens the engine over the configured store.
pub(crate) async fn engine(global: &GlobalArgs, store: &StoreArgs) -> Result<QueryEngine, Failure> {
    let (config, settings) = config::load_settings(global, &store.settings())?;
    sql_session::open(&config, settings).await
}
