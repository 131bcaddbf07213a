//! What is written on documents, in Chinese and English.

use crate::adjustment::AdjustmentReason;

/// Language of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
}

/// A label in both languages: Chinese, English.
pub type Label = (&'static str, &'static str);

impl Language {
    /// The text of a label.
    pub const fn of(self, label: Label) -> &'static str {
        match self {
            Self::Zh => label.0,
            Self::En => label.1,
        }
    }
}

/// The columns of a statement as CSV.
pub(crate) const COLUMNS: [Label; 23] = [
    ("类别", "part"),
    ("编号", "id"),
    ("合同", "terms"),
    ("模型", "model"),
    ("计量类别", "class"),
    ("供应方", "supplier"),
    ("服务等级", "service_tier"),
    ("价格", "price"),
    ("价目版本", "price_book_version"),
    ("单价（每百万）", "unit_price_per_million"),
    ("免费试用", "trial"),
    ("数量", "units"),
    ("计价金额", "listed"),
    ("计价币种", "listed_currency"),
    ("不含税金额", "net"),
    ("税额", "tax"),
    ("价税合计", "gross"),
    ("原因", "reason"),
    ("原账期", "orig_period"),
    ("原明细编号", "orig_line_id"),
    ("说明", "note"),
    ("提出人", "posted_by"),
    ("批准人", "approved_by"),
];

pub(crate) const HEADER: Label = ("表头", "header");
pub(crate) const LINE: Label = ("明细", "line");
pub(crate) const ADJUSTMENT: Label = ("调整", "adjustment");
pub(crate) const ROUNDING: Label = ("尾差", "rounding");
pub(crate) const SECTION_TOTAL: Label = ("小计", "section_total");
pub(crate) const BALANCE: Label = ("余额", "balance");
pub(crate) const FX: Label = ("汇率", "fx");
pub(crate) const TOTAL: Label = ("合计", "total");
pub(crate) const CONTROL: Label = ("控制总数", "control");

pub(crate) const VENDOR: Label = ("供应商", "vendor");
pub(crate) const PERIOD: Label = ("账期", "period");
pub(crate) const STATUS: Label = ("状态", "status");
pub(crate) const SEQUENCE: Label = ("序号", "sequence");
pub(crate) const SCHEMA: Label = ("格式版本", "schema");
pub(crate) const CURRENCY: Label = ("币种", "currency");
pub(crate) const CONTRACTS_VERSION: Label = ("合同版本", "contracts_version");
pub(crate) const CUT_OFF: Label = ("截止", "cut_off");
pub(crate) const HASH: Label = ("哈希", "hash");
pub(crate) const NOTE: Label = ("备注", "note");
pub(crate) const IN_WORDS: Label = ("大写金额", "total_in_words");
pub(crate) const EVENTS: Label = ("事件数", "events");
pub(crate) const LATE_EVENTS: Label = ("迟到事件数", "late_events");
pub(crate) const CORRECTED_EVENTS: Label = ("更正事件数", "corrected_events");
pub(crate) const WHOLESALE: Label = ("批价金额", "wholesale");
pub(crate) const RETAIL: Label = ("零售金额", "retail");
pub(crate) const MINIMUM_OPENING: Label = ("保底期初", "minimum_opening");
pub(crate) const MINIMUM_CLOSING: Label = ("保底期末", "minimum_closing");
pub(crate) const MINIMUM_EXPIRED: Label = ("保底过期", "minimum_expired");
pub(crate) const PREPAID_OPENING: Label = ("预付期初", "prepaid_opening");
pub(crate) const PREPAID_PAID: Label = ("本期预付", "prepaid_paid");
pub(crate) const PREPAID_DRAWN: Label = ("本期抵扣", "prepaid_drawn");
pub(crate) const PREPAID_CLOSING: Label = ("预付期末", "prepaid_closing");
pub(crate) const DRAFT: Label = ("草稿", "draft");
pub(crate) const FINAL: Label = ("已封账", "final");
pub(crate) const YES: Label = ("是", "yes");

/// The label of a reason; in English its name in statements.
pub const fn reason(reason: AdjustmentReason) -> Label {
    let zh = match reason {
        AdjustmentReason::LateUsage => "迟到用量",
        AdjustmentReason::ReRate => "重新批价",
        AdjustmentReason::VolumeCorrection => "用量更正",
        AdjustmentReason::DisputeCredit => "争议退款",
        AdjustmentReason::ComplaintRefund => "投诉退费",
        AdjustmentReason::SuspenseWriteOff => "挂起核销",
        AdjustmentReason::MinimumGuaranteeTrueUp => "保底补差",
        AdjustmentReason::TierTrueUp => "阶梯补差",
        AdjustmentReason::FxDifference => "汇率差",
        AdjustmentReason::TaxCorrection => "税额更正",
        AdjustmentReason::CorrectionEvent => "更正事件",
        AdjustmentReason::FreeTrial => "免费试用分担",
        AdjustmentReason::Cap => "封顶",
        AdjustmentReason::PrepaidDrawn => "预付抵扣",
    };
    (zh, reason.name())
}
