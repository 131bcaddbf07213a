//! The books of the store of several vendors: terms, a closed month, adjustments, disputes,
//! comparisons with bills. Everything of others is a canary.
//!
//! The journal numbers what is done, whoever it is about. Here the vendor's own comes first, so that
//! it has the same numbers where there are no others.

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tally_reference::{FileOrigin, NewFiles, ReferenceKind, ReferenceStore, StoredFile};
use tally_settlement::{
    Act, Adjustment, AdjustmentReason, Amounts, Books, Cents, ClassSum, ControlTotals, CurrencySum,
    Decision, DifferingRequest, DifferingSide, Dispute, DisputeOutcome, EventPlace,
    LargeDifference, Line, Payment, Period, Pico, Plan, Proposal, Reconciled, Resolution, Review,
    Seal, SealedStatement, Section, Statement, Units, adjustment_name,
};

use std::sync::Arc;

use crate::canaries::{CANARY, CANARY_DIGITS, OWN};
use crate::feed::ms;
use crate::world::World;

/// Vendors beside the one who asks. Terms are only taken of one that the price book knows, which is
/// the second.
pub(crate) const OTHERS: [&str; 4] = ["canary-vendor", "zhipu", "deepseek2", "Deepseek"];

/// What is written of one vendor: its texts and its numbers.
struct Of<'a> {
    vendor: &'a str,
    mark: &'static str,
    number: i128,
}

/// A journal that is written, and what it comes to.
struct Writer<'a> {
    world: &'a World,
    books: Books,
}

fn october() -> Period {
    Period::parse("2026-10").unwrap()
}

fn at(day: u32, hour: u32) -> i64 {
    ms(&format!("2026-11-{day:02}T{hour:02}:00:00+08:00"))
}

impl Of<'_> {
    fn text(&self, what: &str) -> String {
        format!("{}-{what}-{}", self.mark, self.vendor)
    }

    fn cents(&self) -> Cents {
        Cents(self.number * 100)
    }

    fn pico(&self) -> Pico {
        Pico(self.number * 1_000_000_000_000)
    }

    fn count(&self) -> u64 {
        u64::try_from(self.number).unwrap()
    }

    fn amounts(&self) -> Amounts {
        Amounts { net: self.cents(), tax: self.cents(), gross: self.cents() }
    }

    fn proposal(&self, amount: Cents, dispute: Option<u64>) -> Proposal {
        let reason = match dispute {
            Some(_) => AdjustmentReason::DisputeCredit,
            None => AdjustmentReason::ComplaintRefund,
        };
        Proposal {
            vendor: self.vendor.to_owned(),
            period: october(),
            terms: self.text("terms"),
            reason,
            amount,
            orig_period: None,
            orig_line_id: None,
            note: self.text("note"),
            dispute,
            re_rate: None,
            billed: None,
        }
    }

    fn reconciled(&self) -> Reconciled {
        let ours = Pico(self.pico().0 / 2);
        Reconciled {
            vendor: self.vendor.to_owned(),
            period: october(),
            bill: self.text("bill"),
            bill_hash: self.text("hash"),
            mapping: self.text("mapping"),
            bill_lines: self.count(),
            our_events: self.count(),
            differences: self.count(),
            disputed: self.count(),
            inside: false,
            totals: vec![CurrencySum {
                currency: "CNY".to_owned(),
                ours,
                theirs: self.pico(),
                inside: false,
            }],
            classes: vec![ClassSum {
                class: self.text("class"),
                currency: "CNY".to_owned(),
                count: self.count(),
                difference: self.pico(),
            }],
            largest: vec![self.large_difference()],
        }
    }

    fn large_difference(&self) -> LargeDifference {
        let side = |text: &str| DifferingSide {
            day: "2026-10-21".parse().unwrap(),
            model: self.text(&format!("model-{text}")),
            service_tier: self.text(&format!("tier-{text}")),
            counts: format!("input {}", self.number),
            amount: Some(self.pico()),
            currency: "CNY".to_owned(),
        };
        LargeDifference {
            class: Some(self.text("class")),
            detail: Some(self.text("detail")),
            disputed: true,
            difference: Some(self.pico()),
            price_micro: Some(self.count()),
            request: Some(DifferingRequest {
                id: self.text("request"),
                bill_line: Some(self.count()),
                event: Some(EventPlace { partition: 0, offset: self.count(), index: 0 }),
                price_ids: Some(self.text("price")),
            }),
            ours: Some(side("ours")),
            theirs: Some(side("theirs")),
        }
    }

    fn line(&self, model: &str, units: i128) -> Line {
        Line {
            id: self.text(&format!("line-{model}")),
            model: model.to_owned(),
            class: "input".to_owned(),
            supplier: self.text("supplier"),
            service_tier: "standard".to_owned(),
            price_book_version: self.text("book"),
            price: self.text("price"),
            unit_price_micro: Some(self.count()),
            trial: false,
            units: Units(units),
            listed: self.pico(),
            listed_currency: "CNY".to_owned(),
            amounts: self.amounts(),
        }
    }

    /// A sealed statement: models and units such that expressions over them fail, too.
    fn statement(&self, models: &[(&str, i128)], posted: u64) -> Statement {
        let adjustment = Adjustment {
            id: adjustment_name(posted),
            reason: AdjustmentReason::ComplaintRefund,
            orig_period: None,
            orig_line_id: None,
            model: String::new(),
            class: String::new(),
            price: String::new(),
            units: Units(0),
            note: self.text("note"),
            posted_by: Some("ann".to_owned()),
            approved_by: Some("bob".to_owned()),
            amounts: self.amounts(),
        };
        let section = Section {
            terms: self.text("terms"),
            models: "*".to_owned(),
            form: self.text("form"),
            tax_ppm: 60_000,
            rounding_mode: "half_up".to_owned(),
            lines: models.iter().map(|(model, units)| self.line(model, *units)).collect(),
            adjustments: vec![adjustment],
            rounding: self.amounts(),
            total: self.amounts(),
            minimum: None,
            prepaid: None,
            tier_volumes: Vec::new(),
            fx: Vec::new(),
        };
        Statement {
            schema: 1,
            vendor: self.vendor.to_owned(),
            period: october(),
            sequence: self.count(),
            currency: "CNY".to_owned(),
            contracts_version: self.text("contracts"),
            price_book_versions: vec![self.text("book")],
            control: ControlTotals { events: self.count(), ..ControlTotals::default() },
            sections: vec![section],
            total: self.amounts(),
            total_in_words: self.text("words"),
        }
    }
}

impl Writer<'_> {
    async fn put(&self, path: [&str; 3], bytes: Vec<u8>) {
        let path = Path::from_iter(path);
        self.world.store.put(&path, PutPayload::from(bytes)).await.unwrap();
    }

    /// Does something; the number of its entry.
    async fn act(&mut self, act: Act, by: &str, at_ms: i64) -> u64 {
        let entry = self.books.entry(act, by, at_ms).unwrap();
        let name = format!("{:020}.json", entry.n);
        self.put(["statements", "journal", &name], entry.to_bytes().unwrap()).await;
        self.books.take(&entry).unwrap();
        entry.n
    }

    /// A refund that was approved, one that was not, a comparison, a dispute and its end; the number
    /// of the first.
    async fn people(&mut self, of: &Of<'_>) -> u64 {
        let refund = Cents(-of.cents().0);
        let posted = self.act(Act::Adjust(of.proposal(refund, None)), "ann", at(1, 9)).await;
        let decision = Decision { of: posted, approve: true, note: String::new() };
        self.act(Act::DecideAdjustment(decision), "bob", at(1, 10)).await;
        self.act(Act::Reconcile(of.reconciled()), "cam", at(1, 11)).await;
        let dispute = Dispute {
            reconciled: of.reconciled(),
            evidence: of.text("evidence"),
            deadline: "2026-11-14".parse().unwrap(),
            note: of.text("note"),
        };
        let opened = self.act(Act::OpenDispute(dispute), "ann", at(2, 9)).await;
        let resolution = Resolution {
            dispute: opened,
            outcome: DisputeOutcome::Settled(of.proposal(refund, Some(opened))),
            note: of.text("note"),
        };
        self.act(Act::ResolveDispute(resolution), "ann", at(2, 10)).await;
        posted
    }

    async fn close(&mut self, statements: &[Statement], adjustments: Vec<u64>) {
        let plan = Plan {
            format: Plan::FORMAT,
            n: 0,
            period: october(),
            by: "ann".to_owned(),
            at_ms: at(3, 9),
            code_version: "0".to_owned(),
            reference: "0".to_owned(),
            terms: Vec::new(),
            posted: Vec::new(),
            cut_offs: Vec::new(),
            files: Vec::new(),
            previous: String::new(),
        };
        let review = Review {
            period: october(),
            plan: plan.hash().unwrap(),
            statements: SealedStatement::of_all(statements).unwrap(),
            adjustments,
        };
        let reviewed = self.act(Act::Review(review), "ann", at(3, 9)).await;
        let decision = Decision { of: reviewed, approve: true, note: String::new() };
        let approval =
            self.books.entry(Act::DecideReview(decision.clone()), "bob", at(4, 9)).unwrap();
        self.act(Act::DecideReview(decision), "bob", at(4, 9)).await;
        let seal = Seal::of(&plan, &approval, "terms", statements).unwrap();
        let name = format!("{:020}.json", seal.n);
        self.put(["statements", "seals", &name], seal.to_bytes().unwrap()).await;
        let period = october().to_string();
        for statement in statements {
            let name = format!("vendor-{}.json", statement.vendor);
            self.put(["statements", &period, &name], statement.to_bytes().unwrap()).await;
        }
    }

    async fn pay(&mut self, of: &Of<'_>) {
        let payment = Payment {
            period: october(),
            vendor: of.vendor.to_owned(),
            paid_on: "2026-11-20".parse().unwrap(),
            reference: of.text("payment"),
        };
        self.act(Act::Pay(payment), "ann", at(21, 9)).await;
    }
}

fn terms_of(vendor: &str, mark: &str, number: &str) -> String {
    format!(
        "[[terms]]\nid = \"{mark}-terms-{vendor}\"\nvendor = \"{vendor}\"\nmodel_pattern = \"*\"\n\
         form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\n\
         minimum = \"{number}.00\"\ncarry_months = 3\nvalid_from = \"2026-01-01\"\n\
         source = \"{mark}-contract\"\n\
         tolerance = {{ qty_pct = \"0.1\", amt_pct = \"0.1\", amt_abs = \"1.00\", counts = \"ours\" }}\n"
    )
}

/// Writes the books of `world`.
pub(crate) async fn put(world: &World, with_others: bool) {
    let mut terms = terms_of(OWN, "own", "20");
    if with_others {
        terms.push_str(&terms_of(OTHERS[1], CANARY, CANARY_DIGITS));
    }
    let references = ReferenceStore::new(Arc::clone(&world.store));
    let kind = ReferenceKind::Contract;
    let files = vec![StoredFile { name: "terms.toml".to_owned(), text: terms }];
    let new = NewFiles { kind, files, origin: FileOrigin::Written };
    let imported = references.import(&new, "lin", ms("2026-10-30T09:00:00+08:00")).await.unwrap();
    let approved_at = ms("2026-10-30T10:00:00+08:00");
    references.approve(kind, imported.version.unwrap(), "chen", approved_at).await.unwrap();

    let mut writer = Writer { world, books: Books::default() };
    let own = Of { vendor: OWN, mark: "own", number: 12 };
    let digits: i128 = CANARY_DIGITS.parse().unwrap();
    let others = OTHERS.map(|vendor| Of { vendor, mark: CANARY, number: digits });
    let posted = writer.people(&own).await;
    let models = [("deepseek-flash", 0), ("12", 5_000), ("3.5", 900_719_925_474_099)];
    let mut statements = vec![own.statement(&models, posted)];
    let mut adjustments = vec![posted];
    if with_others {
        for of in &others {
            let posted = writer.people(of).await;
            adjustments.push(posted);
            let models = [(of.text("model"), digits), (of.text("model2"), digits)];
            let models = models.each_ref().map(|(model, units)| (model.as_str(), *units));
            statements.push(of.statement(&models, posted));
        }
        // What the vendor is not told of itself: somebody thinks about it.
        let waits = Of { vendor: OWN, mark: CANARY, number: digits };
        let proposal = waits.proposal(waits.cents(), None);
        writer.act(Act::Adjust(proposal), "ann", at(2, 11)).await;
    }
    writer.close(&statements, adjustments).await;
    writer.pay(&own).await;
    if with_others {
        for of in &others {
            writer.pay(of).await;
        }
    }
}
