//! What terms and rates say, in a line for people who compare and approve.

use tally_schemas::decimal_text;

use crate::contracts::FxRate;
use crate::fraction::Rounding;
use crate::terms::{Burden, Counts, Form, ShareBase, TaxBasis, Terms};

/// `6.5` of 65,000 parts per million.
fn percent(ppm: u32) -> String {
    let text = decimal_text(ppm.into(), 4);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The form with its figures.
pub(crate) fn form_words(form: &Form) -> String {
    match form {
        Form::PriceList => "by price list".to_owned(),
        Form::CostPlus { markup_ppm } => format!("cost and {} % on it", percent(*markup_ppm)),
        Form::Share { of: ShareBase::Gross, share_ppm } => {
            format!("{} % of gross revenue", percent(*share_ppm))
        }
        Form::Share {
            of: ShareBase::Net { revenue_tax_ppm, channel_fee_ppm, bad_debt_ppm },
            share_ppm,
        } => format!(
            "{} % of revenue net of {} % tax, {} % channel fee and {} % bad debt",
            percent(*share_ppm),
            percent(*revenue_tax_ppm),
            percent(*channel_fee_ppm),
            percent(*bad_debt_ppm)
        ),
        Form::Tiers { mode, classes, steps } => {
            let classes: Vec<&str> = classes.iter().map(|class| class.name()).collect();
            let step = |step: &crate::terms::Step| {
                let price = decimal_text(step.micro_per_million.into(), 6);
                let price = price.trim_end_matches('0').trim_end_matches('.');
                format!("above {} at {price} a million", step.above_units)
            };
            let steps: Vec<String> = steps.iter().map(step).collect();
            format!("{} tiers of {}: {}", mode.name(), classes.join(", "), steps.join(", "))
        }
    }
}

/// Free trials, where there are any.
pub(crate) fn trial_words(terms: &Terms) -> Option<String> {
    let trial = terms.trial.as_ref()?;
    let burden = match trial.burden {
        Burden::Operator => "the operator".to_owned(),
        Burden::Vendor => "the vendor".to_owned(),
        Burden::Shared { vendor_ppm } => format!("the vendor {} %", percent(vendor_ppm)),
    };
    Some(format!("trials of {} borne by {burden}", trial.packages.join(", ")))
}

/// What was paid in advance.
pub(crate) fn prepaid_words(terms: &Terms) -> Option<String> {
    let paid = |paid: &crate::terms::Prepayment| format!("{} on {}", paid.amount, paid.paid_on);
    let paid: Vec<String> = terms.prepayments.iter().map(paid).collect();
    (!paid.is_empty()).then(|| format!("paid in advance {}", paid.join(", ")))
}

/// What may differ without a dispute.
pub(crate) fn tolerance_words(terms: &Terms) -> String {
    let tolerance = terms.tolerance;
    let counts = match tolerance.counts {
        Counts::Ours => "ours",
        Counts::Theirs => "theirs",
    };
    format!(
        "within {} % of quantity, {} % or {} of amount {counts} counts",
        percent(tolerance.qty_ppm),
        percent(tolerance.amt_ppm),
        tolerance.amt_abs
    )
}

pub(crate) fn terms_words(terms: &Terms) -> String {
    let mut words = vec![
        format!(
            "{} {} {} in {}",
            terms.vendor,
            terms.pattern_text(),
            form_words(&terms.form),
            terms.currency
        ),
        format!(
            "tax {} % {}",
            percent(terms.tax_ppm),
            match terms.tax_basis {
                TaxBasis::Exclusive => "on top",
                TaxBasis::Inclusive => "included",
            }
        ),
        match terms.rounding {
            Rounding::HalfUp => "rounded half up".to_owned(),
            Rounding::HalfEven => "rounded half even".to_owned(),
        },
    ];
    if let Some(minimum) = terms.minimum {
        words.push(format!(
            "minimum {} a month, carried {} months",
            minimum.amount, minimum.carry_months
        ));
    }
    words.extend(terms.cap.map(|cap| format!("cap {cap}")));
    words.extend(prepaid_words(terms));
    words.extend(trial_words(terms));
    words.push(tolerance_words(terms));
    words.push(match terms.valid_to {
        Some(to) if to == terms.valid_from => "never".to_owned(),
        Some(to) => format!("from {} to {to}", terms.valid_from),
        None => format!("from {}", terms.valid_from),
    });
    words.join(", ")
}

pub(crate) fn rate_words(rate: &FxRate) -> String {
    let figure = decimal_text(rate.rate_micro, 6);
    format!(
        "{} {} for 1 {} in statements of {}, as of {} from {}",
        figure.trim_end_matches('0').trim_end_matches('.'),
        rate.to,
        rate.from,
        rate.period,
        rate.date,
        rate.source
    )
}
