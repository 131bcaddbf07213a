//! What is written on documents, in Chinese and English.

use tally_settlement::Label;

pub(crate) const TITLE: Label = ("供应商结算单", "Vendor settlement statement");
pub(crate) const DRAFT: Label = ("草稿", "DRAFT");
pub(crate) const STATUS_DRAFT: Label = ("草稿，未封账", "Draft, not sealed");
pub(crate) const STATUS_FINAL: Label = ("已封账", "Final, sealed");
pub(crate) const DRAFT_SAYS: Label = (
    "本结算单为草稿：账期封账前，数据仍可能变动，不作为付款依据。",
    "This is a draft: until the period is sealed its figures may change. It is no basis for a payment.",
);
pub(crate) const NO_SIGNATURE: Label = (
    "草稿不签字盖章，封账后方可签署。",
    "A draft is not signed; it can be once the period is sealed.",
);

pub(crate) const VENDOR: Label = ("供应商", "Vendor");
pub(crate) const PERIOD: Label = ("账期", "Period");
pub(crate) const DAYS: Label = ("起止日期（北京时间）", "Days (Asia/Shanghai)");
pub(crate) const SEQUENCE: Label = ("结算单序号", "Statement number");
pub(crate) const STATUS: Label = ("状态", "Status");
pub(crate) const CURRENCY: Label = ("结算币种", "Currency");
pub(crate) const EVENTS: Label = ("本期事件数", "Events of the period");
pub(crate) const LATE_EVENTS: Label = ("迟到事件数（往期）", "Late events of earlier periods");
pub(crate) const CORRECTED_EVENTS: Label =
    ("更正事件数（往期）", "Corrected events of earlier periods");

pub(crate) const NET: Label = ("不含税金额", "Net");
pub(crate) const TAX: Label = ("税额", "Tax");
pub(crate) const GROSS: Label = ("价税合计", "Gross");
pub(crate) const PAYABLE: Label = ("应付合计", "Total payable");
pub(crate) const CREDIT: Label = ("应退合计（供应商欠付）", "Total credit (owed by the vendor)");
pub(crate) const IN_WORDS: Label = ("大写金额", "In Chinese words");
pub(crate) const IN_ENGLISH: Label = ("英文大写", "In words");

pub(crate) const SUMMARY: Label = ("按合同汇总", "By contract");
pub(crate) const CONTRACT: Label = ("合同", "Contract");
pub(crate) const MODELS: Label = ("适用模型", "Models");
pub(crate) const FORM: Label = ("结算方式", "Form");
pub(crate) const TAX_RATE: Label = ("税率", "Tax rate");
pub(crate) const ROUNDING_MODE: Label = ("舍入方式", "Rounding");
pub(crate) const LINES_NET: Label = ("明细（不含税）", "Lines (net)");
pub(crate) const ADJUSTMENTS_NET: Label = ("调整（不含税）", "Adjustments (net)");
pub(crate) const ROUNDING_NET: Label = ("尾差（不含税）", "Rounding (net)");
pub(crate) const TOTAL: Label = ("合计", "Total");

pub(crate) const LINES: Label = ("明细", "Lines");
pub(crate) const LINE_ID: Label = ("明细编号", "Line");
pub(crate) const MODEL: Label = ("模型", "Model");
pub(crate) const CLASS: Label = ("计量类别", "Class");
pub(crate) const SUPPLIER: Label = ("供应方", "Supplier");
pub(crate) const SERVICE_TIER: Label = ("服务等级", "Service tier");
pub(crate) const PRICE: Label = ("价格", "Price");
pub(crate) const PRICE_BOOK: Label = ("价目版本", "Price book");
pub(crate) const TRIAL: Label = ("免费试用", "Free trial");
pub(crate) const YES: Label = ("是", "yes");
pub(crate) const UNIT_PRICE: Label = ("单价（每百万）", "Price per million");
pub(crate) const UNITS: Label = ("数量", "Units");
pub(crate) const LISTED: Label = ("计价金额", "Rated amount");
pub(crate) const LISTED_CURRENCY: Label = ("计价币种", "Rated currency");
pub(crate) const SUM_OF_LINES: Label = ("明细小计", "Sum of lines");

pub(crate) const ADJUSTMENTS: Label = ("调整", "Adjustments");
pub(crate) const ADJUSTMENT_ID: Label = ("调整编号", "Adjustment");
pub(crate) const REASON: Label = ("原因", "Reason");
pub(crate) const ORIG_PERIOD: Label = ("原账期", "Original period");
pub(crate) const ORIG_LINE: Label = ("原明细编号", "Original line");
pub(crate) const NOTE: Label = ("说明", "Note");
pub(crate) const POSTED_BY: Label = ("提交人", "Posted by");
pub(crate) const APPROVED_BY: Label = ("批准人", "Approved by");
pub(crate) const SUM_OF_ADJUSTMENTS: Label = ("调整小计", "Sum of adjustments");
pub(crate) const ROUNDING: Label = ("尾差", "Rounding");
pub(crate) const CONTRACT_TOTAL: Label = ("合同合计", "Total of the contract");

pub(crate) const BALANCES: Label = ("保底与预付余额", "Guarantee and commitment balances");
pub(crate) const BALANCE: Label = ("余额项目", "Balance");
pub(crate) const OF_PERIOD: Label = ("所属账期", "Of period");
pub(crate) const USABLE_TO: Label = ("可用至", "Usable until");
pub(crate) const AMOUNT: Label = ("金额", "Amount");
pub(crate) const MINIMUM: Label = ("月保底金额", "Guaranteed minimum of the month");
pub(crate) const MINIMUM_OPENING: Label = ("保底差额期初", "Shortfall carried in");
pub(crate) const MINIMUM_USED: Label = ("本期抵用", "Used by this month");
pub(crate) const MINIMUM_EXPIRED: Label = ("本期过期", "Expired");
pub(crate) const MINIMUM_SHORTFALL: Label = ("本期保底差额", "Shortfall of this month");
pub(crate) const MINIMUM_CLOSING: Label = ("保底差额期末", "Shortfall carried on");
pub(crate) const PREPAID_OPENING: Label = ("预付期初余额", "Advance payments, opening");
pub(crate) const PREPAID_PAID: Label = ("本期新增预付", "Paid in advance since then");
pub(crate) const PREPAID_DRAWN: Label = ("本期抵扣", "Drawn by this month");
pub(crate) const PREPAID_CLOSING: Label = ("预付期末余额", "Advance payments, closing");

pub(crate) const TIER_VOLUMES: Label = ("阶梯累计用量", "Units counted towards tiers");
pub(crate) const RATES: Label = ("汇率", "Exchange rates");
pub(crate) const FROM: Label = ("原币种", "From");
pub(crate) const TO: Label = ("目标币种", "To");
pub(crate) const RATE: Label = ("汇率值", "Rate");
pub(crate) const RATE_DAY: Label = ("汇率日期", "Day of the rate");
pub(crate) const SOURCE: Label = ("来源", "Source");
pub(crate) const AMOUNT_FROM: Label = ("原币金额", "Amount converted");
pub(crate) const AMOUNT_TO: Label = ("折算金额", "Comes to");

pub(crate) const CONTROL: Label = ("控制总数", "Control totals");
pub(crate) const ITEM: Label = ("项目", "Item");
pub(crate) const IN_UNIT: Label = ("单位或币种", "Unit or currency");
pub(crate) const QUANTITY: Label = ("数值", "Value");
pub(crate) const WHOLESALE: Label = ("批价金额", "Rated wholesale amount");
pub(crate) const RETAIL: Label = ("零售金额", "Rated retail amount");
pub(crate) const COUNT_UNIT: Label = ("条", "events");
pub(crate) const CLASS_UNIT: Label = ("计量单位", "units");

pub(crate) const BASIS: Label = ("数据依据", "Basis");
pub(crate) const HASH: Label = ("结算单哈希（BLAKE3）", "Hash of the statement (BLAKE3)");
pub(crate) const CONTRACTS_VERSION: Label = ("合同版本", "Version of the contracts");
pub(crate) const PRICE_BOOKS: Label = ("价目版本", "Versions of the price book");
pub(crate) const CUT_OFFS: Label = ("数据截止（分区/批次）", "Cut-off (partition/epoch)");
pub(crate) const SCHEMA: Label = ("格式版本", "Schema");

pub(crate) const STATEMENT: Label = ("结算单", "Statement");
pub(crate) const OPERATOR: Label = ("结算方（运营商）", "Operator");
pub(crate) const SIGN: [Label; 4] = [
    ("经办", "Prepared by"),
    ("复核", "Checked by"),
    ("批准", "Approved by"),
    ("签署日期", "Date"),
];
pub(crate) const SEAL: Label = ("（盖章）", "(seal)");

pub(crate) const CARRIED: Label = ("过次页", "Carried forward");
pub(crate) const BROUGHT: Label = ("承前页", "Brought forward");
/// Before the page, between page and pages, after the pages.
pub(crate) const PAGE: [Label; 3] = [("第 ", "Page "), (" 页，共 ", " of "), (" 页", "")];
