//! Words of statements in both languages: token classes, forms of contracts, reasons.

use tally_settlement::{AdjustmentReason, Label, Language, reason_label};

/// The name of a token class, `revenue` or `units`; what is not known stays as it is.
pub(crate) fn class(language: Language, class: &str) -> &str {
    let label: Label = match class {
        "input" => ("输入", "Input"),
        "cached_input" => ("缓存命中输入", "Cached input"),
        "cache_write_5m" => ("缓存写入（5 分钟）", "Cache write (5 min)"),
        "cache_write_1h" => ("缓存写入（1 小时）", "Cache write (1 h)"),
        "output" => ("输出", "Output"),
        "reasoning" => ("推理（已含于输出）", "Reasoning (within output)"),
        "audio_input" => ("音频输入", "Audio input"),
        "audio_output" => ("音频输出", "Audio output"),
        "image_input" => ("图像输入", "Image input"),
        "image_output" => ("图像输出", "Image output"),
        "requests" => ("请求", "Requests"),
        "images" => ("图片", "Images"),
        "seconds" => ("秒", "Seconds"),
        "characters" => ("字符", "Characters"),
        "revenue" => ("分成收入", "Shared revenue"),
        "units" => ("阶梯用量", "Units in tiers"),
        other => return other,
    };
    language.of(label)
}

/// The name of a form of contract.
pub(crate) fn form(language: Language, form: &str) -> &str {
    let label: Label = match form {
        "price_list" => ("按价目计费", "Price list"),
        "cost_plus" => ("成本加成", "Cost plus"),
        "share_of_gross" => ("总收入分成", "Share of gross revenue"),
        "share_of_net" => ("净收入分成", "Share of net revenue"),
        "graduated_tiers" => ("累进阶梯", "Graduated tiers"),
        "all_units_tiers" => ("全量阶梯", "All-units tiers"),
        other => return other,
    };
    language.of(label)
}

/// The name of a rounding mode.
pub(crate) fn rounding(language: Language, mode: &str) -> &str {
    let label: Label = match mode {
        "half_up" => ("四舍五入", "half up"),
        "half_even" => ("四舍六入五成双", "half to even"),
        other => return other,
    };
    language.of(label)
}

/// The name of a reason.
pub(crate) const fn reason(language: Language, reason: AdjustmentReason) -> &'static str {
    let english = match reason {
        AdjustmentReason::LateUsage => "Late usage",
        AdjustmentReason::ReRate => "Rated again",
        AdjustmentReason::VolumeCorrection => "Volume correction",
        AdjustmentReason::DisputeCredit => "Dispute credit",
        AdjustmentReason::ComplaintRefund => "Complaint refund",
        AdjustmentReason::SuspenseWriteOff => "Suspense write-off",
        AdjustmentReason::MinimumGuaranteeTrueUp => "Minimum guarantee true-up",
        AdjustmentReason::TierTrueUp => "Tier true-up",
        AdjustmentReason::FxDifference => "Exchange difference",
        AdjustmentReason::TaxCorrection => "Tax correction",
        AdjustmentReason::CorrectionEvent => "Correction event",
        AdjustmentReason::FreeTrial => "Free trial, vendor's part",
        AdjustmentReason::Cap => "Cap",
        AdjustmentReason::PrepaidDrawn => "Drawn from advance payments",
    };
    language.of((reason_label(reason).0, english))
}

#[cfg(test)]
mod tests {
    use tally_schemas::TokenClass;

    use super::*;

    #[test]
    fn every_class_has_a_name_in_both_languages() {
        for name in TokenClass::ALL.iter().map(|class| class.name()).chain(["revenue", "units"]) {
            for language in [Language::Zh, Language::En] {
                assert_ne!(class(language, name), name, "{name}");
            }
        }
    }
}
