//! A table on pages: columns as wide as they need to be, a head on every page, and sums that are
//! carried from one page to the next.

use tally_settlement::{Amounts, Label, Language};

use super::canvas::{Canvas, Ink, Pen, Weight};
use super::flow::{Flow, LEFT, WIDTH};
use super::length::{Milli, points, scaled};
use super::paragraph::{broken, longest_part};
use crate::error::DocumentError;
use crate::labels::{BROUGHT, CARRIED};
use crate::table::{Cell, Row, RowKind, Table, sum};
use crate::value::Value;

const TEXT: Pen = Pen::new(7_600, Weight::Regular, Ink::TEXT);
const BELOW: Pen = Pen::new(6_000, Weight::Regular, Ink::SOFT);
const HEAD: Pen = Pen::new(7_000, Weight::Bold, Ink::TEXT);
const SUM: Pen = Pen::new(7_600, Weight::Bold, Ink::TEXT);
const CARRY: Pen = Pen::new(7_200, Weight::Regular, Ink::SOFT);

const SIDE: Milli = points(4);
const ABOVE: Milli = 2_400;
/// The height of a line, in twelfths of the size of its letters.
const LINE_HEIGHT: Milli = 16;
/// The width below which a column of texts is not made smaller.
const TEXT_MIN: Milli = points(44);
/// The width that a column may have for its title alone.
const TITLE_MAX: Milli = points(72);

/// Height of a table that is not broken over pages, and what there is at least of one that is.
const WHOLE_MAX: Milli = points(200);
const BEGINNING: Milli = points(70);

/// A row whose texts are broken into lines.
struct Laid<'t> {
    row: &'t Row,
    cells: Vec<[Vec<String>; 2]>,
    height: Milli,
}

/// Draws a table.
pub(super) fn draw(
    flow: &mut Flow<'_>,
    table: &Table,
    language: Language,
) -> Result<(), DocumentError> {
    let widths = widths(&flow.canvas, table);
    let head = head(&flow.canvas, table, &widths);
    let rows: Vec<Laid<'_>> =
        table.rows.iter().map(|row| laid(&flow.canvas, table, row, &widths)).collect();
    let grid = Grid { table, widths, head, language };
    // The sums below a row stay with it; else the sum that is carried has to fit below.
    let needed = |at: usize| {
        let below = rows.get(at + 1..).unwrap_or_default();
        let own = rows.get(at).map_or(0, |row| row.height);
        match below.first() {
            Some(next) if next.row.kind == RowKind::Body => own + grid.carry_height(),
            _ => {
                let sums = below.iter().take_while(|next| next.row.kind != RowKind::Body);
                own + sums.map(|sum| sum.height).sum::<Milli>()
            }
        }
    };
    flow.keep(grid.head.height + needed(0))?;
    grid.draw_head(flow)?;
    let mut carried: Vec<Amounts> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 && row.row.kind == RowKind::Body && !flow.has(needed(at)) {
            grid.carry(flow, CARRIED, &carried)?;
            flow.next_page()?;
            grid.draw_head(flow)?;
            grid.carry(flow, BROUGHT, &carried)?;
        }
        grid.draw_row(flow, row)?;
        carried.extend(row.row.carries);
    }
    Ok(())
}

/// The height that a table, or its beginning, is to have on one page: a small table is not broken.
pub(super) fn kept_height(canvas: &Canvas<'_>, table: &Table) -> Milli {
    let widths = widths(canvas, table);
    let rows = table.rows.iter().map(|row| laid(canvas, table, row, &widths).height);
    let whole = head(canvas, table, &widths).height + rows.sum::<Milli>();
    if whole <= WHOLE_MAX { whole } else { BEGINNING }
}

struct Grid<'t> {
    table: &'t Table,
    widths: Vec<Milli>,
    head: Head,
    language: Language,
}

struct Head {
    titles: Vec<Vec<String>>,
    height: Milli,
}

fn line_height(pen: Pen) -> Milli {
    scaled(pen.size, LINE_HEIGHT, 12)
}

/// From the top of a line to where its letters stand.
fn rise(pen: Pen) -> Milli {
    scaled(pen.size, 13, 12)
}

fn pen_of(kind: RowKind) -> Pen {
    if kind == RowKind::Body { TEXT } else { SUM }
}

/// The widths of the columns, together as wide as the page: numbers get what they need, texts
/// share the rest and are broken into lines.
fn widths(canvas: &Canvas<'_>, table: &Table) -> Vec<Milli> {
    let mut needs: Vec<(Milli, Milli)> = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let font = canvas.measure(HEAD.weight);
        let title = longest_part(font, HEAD.size, &column.title);
        let whole_title = font.width(&column.title, HEAD.size).min(TITLE_MAX);
        let mut widest = 0;
        for row in &table.rows {
            let Some(Cell { value, below }) = row.cells.get(at) else { continue };
            // The name of a sum may reach over the empty cells beside it.
            if row.kind != RowKind::Body && !column.numeric {
                continue;
            }
            let value = canvas.width(pen_of(row.kind), &value.shown());
            widest = widest.max(value).max(canvas.width(BELOW, below));
        }
        let wanted = widest.max(title).max(whole_title) + 2 * SIDE;
        let least = if column.numeric {
            widest.max(title) + 2 * SIDE
        } else {
            wanted.min(TEXT_MIN.max(title + 2 * SIDE))
        };
        needs.push((least, wanted));
    }
    let least: Milli = needs.iter().map(|(least, _)| least).sum();
    let wanted: Milli = needs.iter().map(|(_, wanted)| wanted).sum();
    let count = Milli::try_from(needs.len()).unwrap_or(1).max(1);
    let mut widths: Vec<Milli> = if wanted <= WIDTH {
        needs.iter().map(|(_, own)| own + (WIDTH - wanted) / count).collect()
    } else if least <= WIDTH {
        shared(&needs)
    } else {
        needs.iter().map(|(own, _)| scaled(WIDTH, *own, least)).collect()
    };
    let used: Milli = widths.iter().sum();
    if let Some(last) = widths.last_mut() {
        *last += WIDTH - used;
    }
    widths
}

/// Widths of columns that do not all get what they want: as much as they need, and the widest ones
/// give way first.
fn shared(needs: &[(Milli, Milli)]) -> Vec<Milli> {
    let up_to = |most: Milli| needs.iter().map(move |(least, wanted)| most.clamp(*least, *wanted));
    let (mut fits, mut too_wide) = (0, WIDTH);
    while too_wide - fits > 1 {
        let most = fits.midpoint(too_wide);
        if up_to(most).sum::<Milli>() <= WIDTH { fits = most } else { too_wide = most }
    }
    up_to(fits).collect()
}

fn head(canvas: &Canvas<'_>, table: &Table, widths: &[Milli]) -> Head {
    let font = canvas.measure(HEAD.weight);
    let titles: Vec<Vec<String>> = table
        .columns
        .iter()
        .zip(widths)
        .map(|(column, width)| broken(font, HEAD.size, width - 2 * SIDE, &column.title))
        .collect();
    let lines = titles.iter().map(Vec::len).max().unwrap_or(1);
    let height = lines_height(HEAD, lines) + 2 * ABOVE;
    Head { titles, height }
}

fn lines_height(pen: Pen, lines: usize) -> Milli {
    line_height(pen) * Milli::try_from(lines).unwrap_or(Milli::MAX / line_height(pen).max(1))
}

fn laid<'t>(canvas: &Canvas<'_>, table: &Table, row: &'t Row, widths: &[Milli]) -> Laid<'t> {
    let pen = pen_of(row.kind);
    let mut cells = Vec::with_capacity(row.cells.len());
    let mut height = line_height(pen);
    for (at, Cell { value, below }) in row.cells.iter().enumerate() {
        let room = room(table, row, widths, at) - 2 * SIDE;
        let value = broken(canvas.measure(pen.weight), pen.size, room, &value.shown());
        let below = broken(canvas.measure(BELOW.weight), BELOW.size, room, below);
        height = height.max(lines_height(pen, value.len()) + lines_height(BELOW, below.len()));
        cells.push([value, below]);
    }
    Laid { row, cells, height: height + 2 * ABOVE }
}

/// The room of a cell: its column's, and for the name of a sum that of the empty cells beside it.
fn room(table: &Table, row: &Row, widths: &[Milli], at: usize) -> Milli {
    let own = widths.get(at).copied().unwrap_or_default();
    if row.kind == RowKind::Body || table.columns.get(at).is_none_or(|column| column.numeric) {
        return own;
    }
    let empty = row.cells.iter().skip(at + 1).take_while(|cell| cell.value == Value::Empty).count();
    own + widths.iter().skip(at + 1).take(empty).sum::<Milli>()
}

impl Grid<'_> {
    fn carry_height(&self) -> Milli {
        let carries = self.table.rows.iter().any(|row| row.carries.is_some());
        if carries { line_height(CARRY) + 2 * ABOVE } else { 0 }
    }

    fn draw_head(&self, flow: &mut Flow<'_>) -> Result<(), DocumentError> {
        let top = flow.y;
        flow.canvas.area(Ink::HEAD, [LEFT, top], [WIDTH, self.head.height]);
        let mut x = LEFT;
        for ((column, width), lines) in
            self.table.columns.iter().zip(&self.widths).zip(&self.head.titles)
        {
            // A title of fewer lines stands at the bottom.
            let mut y = top + self.head.height - ABOVE - lines_height(HEAD, lines.len());
            for line in lines {
                put(&mut flow.canvas, HEAD, column.numeric, [x, x + width], y + rise(HEAD), line)?;
                y += line_height(HEAD);
            }
            x += width;
        }
        flow.y += self.head.height;
        flow.canvas.rule(Ink::SOFT, 700, [LEFT, LEFT + WIDTH], flow.y);
        Ok(())
    }

    fn draw_row(&self, flow: &mut Flow<'_>, laid: &Laid<'_>) -> Result<(), DocumentError> {
        let top = flow.y;
        let pen = pen_of(laid.row.kind);
        match laid.row.kind {
            RowKind::Body => {}
            RowKind::Subtotal => flow.canvas.area(Ink::SUM, [LEFT, top], [WIDTH, laid.height]),
            RowKind::Total => flow.canvas.area(Ink::HEAD, [LEFT, top], [WIDTH, laid.height]),
        }
        let mut x = LEFT;
        for ((column, width), [value, below]) in
            self.table.columns.iter().zip(&self.widths).zip(&laid.cells)
        {
            let mut y = top + ABOVE;
            for (pen, lines) in [(pen, value), (BELOW, below)] {
                for line in lines {
                    let sides = [x, x + width];
                    put(&mut flow.canvas, pen, column.numeric, sides, y + rise(pen), line)?;
                    y += line_height(pen);
                }
            }
            x += width;
        }
        flow.y += laid.height;
        let sides = [LEFT, LEFT + WIDTH];
        if laid.row.kind == RowKind::Total {
            flow.canvas.rule(Ink::TEXT, 500, sides, top);
            flow.canvas.rule(Ink::TEXT, 500, sides, flow.y);
            flow.canvas.rule(Ink::TEXT, 500, sides, flow.y + points(2));
            flow.y += points(2);
        } else {
            flow.canvas.rule(Ink::RULE, 400, sides, flow.y);
        }
        Ok(())
    }

    /// The sums so far, at the end of a page and at the beginning of the next; nothing where there
    /// are none.
    fn carry(
        &self,
        flow: &mut Flow<'_>,
        label: Label,
        carried: &[Amounts],
    ) -> Result<(), DocumentError> {
        if carried.is_empty() {
            return Ok(());
        }
        let sum = sum(&self.table.title, carried.iter().copied())?;
        let baseline = flow.y + ABOVE + rise(CARRY);
        flow.canvas.text(CARRY, LEFT + SIDE, baseline, self.language.of(label))?;
        let mut right = LEFT + WIDTH;
        for (cents, width) in [sum.gross, sum.tax, sum.net].iter().zip(self.widths.iter().rev()) {
            let amount = Value::Amount(*cents).shown();
            flow.canvas.text_to(CARRY, right - SIDE, baseline, &amount)?;
            right -= width;
        }
        flow.y += self.carry_height();
        flow.canvas.rule(Ink::RULE, 400, [LEFT, LEFT + WIDTH], flow.y);
        Ok(())
    }
}

/// Writes a line between two sides: numbers on the right, texts on the left.
fn put(
    canvas: &mut Canvas<'_>,
    pen: Pen,
    numeric: bool,
    [left, right]: [Milli; 2],
    baseline: Milli,
    line: &str,
) -> Result<(), DocumentError> {
    if numeric {
        canvas.text_to(pen, right - SIDE, baseline, line)
    } else {
        canvas.text(pen, left + SIDE, baseline, line)
    }
}
