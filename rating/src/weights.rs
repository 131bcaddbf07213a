//! Weights: how many points a unit of a class counts, by model and time; products with a charge
//! of their own.

use tally_schemas::TokenClass;

use crate::calendar::Windows;
use crate::instant::Validity;
use crate::pattern::ModelPattern;
use crate::record_words::{product_words, weights_words};
use crate::version::{Version, Versioned};

/// Micro-points of a token that no weight names: one point.
pub const TOKEN_MICRO_POINTS: u64 = 1_000_000;

/// One weight of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Billed models.
    pub model: ModelPattern,
    /// Class.
    pub class: TokenClass,
    /// Micro-points a unit.
    pub micro_per_unit: u64,
    /// Calendar of the windows.
    pub calendar_id: Option<String>,
    /// Only at these times of day.
    pub windows: Windows,
    /// When it is in force, by the end of the call.
    pub valid: Validity,
}

/// One version of a table of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightTable {
    /// Id, known time, approval.
    pub version: Version,
    /// Its weights.
    pub weights: Vec<Weight>,
}

/// One version of a product whose requests count a fixed number of points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Id, known time, approval.
    pub version: Version,
    /// Micro-points a request.
    pub micro_per_request: u64,
}

impl Versioned for WeightTable {
    const KIND: &'static str = "weights";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        weights_words(self)
    }
}

impl Versioned for Product {
    const KIND: &'static str = "product";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        product_words(self)
    }
}
