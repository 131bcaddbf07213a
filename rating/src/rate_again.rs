//! Rates a stored row by another reading of the book. A row has everything that rating needs, but
//! one thing: which of its names the event gave itself, and which an alias gave.

use crate::rate_card::RateCard;
use crate::rater::Attribution;
use crate::{Bug, planted};

/// The names of a stored row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredNames<'a> {
    /// Requested model.
    pub model: &'a str,
    /// Vendor.
    pub vendor: &'a str,
    /// Supplier.
    pub supplier: &'a str,
    /// Model that the vendor bills.
    pub billed_model: &'a str,
}

/// Who is paid for a stored row, and for which model, by the book as it is read `now`; `rated_by` is
/// the reading that rated it. A name that the alias of that reading gives is taken for the alias's,
/// any other for the event's own, which stays. `None` where nobody knows the vendor now.
pub fn attribute_again<'a>(
    rated_by: &RateCard,
    now: &'a RateCard,
    stored: &StoredNames<'a>,
    completed_at_ms: i64,
) -> Option<Attribution<'a>> {
    let StoredNames { model, vendor, supplier, billed_model } = *stored;
    if planted(Bug::AliasForgotten) {
        return Some(Attribution { vendor, supplier, billed_model });
    }
    let alias = rated_by.resolve(model, completed_at_ms).filter(|alias| alias.vendor == vendor);
    let alias_now = now.resolve(model, completed_at_ms);
    let vendor_now = match alias {
        Some(_) => alias_now?.vendor,
        None => vendor,
    };
    let was_billed = alias.map_or(model, |alias| alias.billed_model);
    let billed_now = if billed_model == was_billed {
        alias_now.filter(|alias| alias.vendor == vendor_now).map_or(model, |a| a.billed_model)
    } else {
        billed_model
    };
    let supplier_now = if supplier == vendor { vendor_now } else { supplier };
    Some(Attribution { vendor: vendor_now, supplier: supplier_now, billed_model: billed_now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::instant::parse_instant;

    fn card(known_at: &str) -> RateCard {
        RateCard::new(&Book::shipped().unwrap(), Some(parse_instant(known_at).unwrap()))
    }

    fn again(rated_by: &str, now: &str, stored: StoredNames<'_>, at: &str) -> [String; 3] {
        let (rated_by, now) = (card(rated_by), card(now));
        let to = attribute_again(&rated_by, &now, &stored, parse_instant(at).unwrap()).unwrap();
        [to.vendor, to.supplier, to.billed_model].map(str::to_owned)
    }

    const PRO: StoredNames<'static> = StoredNames {
        model: "deepseek-v4-pro",
        vendor: "deepseek",
        supplier: "deepseek",
        billed_model: "deepseek-v4-pro",
    };
    const AS_FLASH: StoredNames<'static> = StoredNames { billed_model: "deepseek-flash", ..PRO };

    /// S5, from stored rows and in both directions.
    #[test]
    fn an_announcement_that_was_cancelled_is_taken_back() {
        let at = "2026-09-15T12:00:00+08:00";
        let billed = |rated_by, now, stored| again(rated_by, now, stored, at)[2].clone();
        assert_eq!(billed("2026-09-12", "2026-09-14", AS_FLASH), "deepseek-v4-pro");
        assert_eq!(billed("2026-09-14", "2026-09-12", PRO), "deepseek-flash");
        assert_eq!(billed("2026-09-14", "2026-09-14", PRO), "deepseek-v4-pro");
    }

    #[test]
    fn what_the_event_said_itself_stays() {
        let at = "2026-09-15T12:00:00+08:00";
        // Billed as flash although no alias says so: the gateway did.
        assert_eq!(again("2026-09-14", "2026-09-12", AS_FLASH, at)[2], "deepseek-flash");
        let own = StoredNames { supplier: "bailian", ..PRO };
        assert_eq!(again("2026-09-14", "2026-09-12", own, at)[1], "bailian");
        let other = StoredNames { vendor: "acme", supplier: "acme", ..PRO };
        let stays = ["acme", "acme", "deepseek-v4-pro"].map(str::to_owned);
        assert_eq!(again("2026-09-14", "2026-09-12", other, at), stays);
    }

    /// Whatever book rated an event rates it again as it did, from what the row has.
    #[test]
    fn the_same_reading_changes_nothing() {
        let at = parse_instant("2026-09-15T12:00:00+08:00").unwrap();
        for known_at in ["2026-09-12", "2026-09-14"] {
            let card = card(known_at);
            for model in ["deepseek-v4-pro", "deepseek-v4-flash", "glm-5"] {
                let alias = card.resolve(model, at).unwrap();
                for supplier in [alias.vendor, "bailian"] {
                    let (vendor, billed_model) = (alias.vendor, alias.billed_model);
                    let stored = StoredNames { model, vendor, supplier, billed_model };
                    let to = attribute_again(&card, &card, &stored, at).unwrap();
                    assert_eq!(to, Attribution { vendor, supplier, billed_model });
                }
            }
        }
    }

    #[test]
    fn a_planted_bug_is_noticed() {
        crate::plant(Some(Bug::AliasForgotten));
        let at = "2026-09-15T12:00:00+08:00";
        let billed = again("2026-09-12", "2026-09-14", AS_FLASH, at)[2].clone();
        crate::plant(None);
        assert_ne!(billed, "deepseek-v4-pro");
    }
}
