//! The tour's last part: only the node's own path to the hub is cut, and its neighbour carries it.

use super::{Tour, text};
use crate::control::{Order, Verb};

/// Only this path: the neighbours of the site still reach each other.
fn path_to_hub(tour: &Tour<'_>, verb: Verb) -> Order {
    Order {
        from: Some("hub".to_owned()),
        ..Order::new(verb, &tour.node, None)
    }
}

/// Whether the node has a neighbour at its site; a demo of few nodes has none.
fn has_neighbour(tour: &Tour<'_>) -> Result<bool, String> {
    let neighbours = tour.own()?;
    Ok(neighbours["neighbours"].as_array().is_some_and(|list| !list.is_empty()))
}

/// Cuts the path, and waits until the hub says by which way the node reaches it.
pub(super) fn carried(tour: &mut Tour<'_>) -> Result<(), String> {
    if !has_neighbour(tour)? {
        return Ok(());
    }
    tour.cluster.obey(&path_to_hub(tour, Verb::Cut))?;
    tour.screen.happened(
        "cut",
        &format!("only {}'s own path to the hub drops every packet", tour.node),
    );
    let row = tour.until(|| {
        let row = tour.at_hub()?;
        match (text(&row["state"]), text(&row["via"])) {
            (_, "") => Err(format!("{} has found no neighbour that carries it", tour.node)),
            ("connected", _) => Ok(row),
            (state, _) => Err(format!("the hub says that {} is {state}", tour.node)),
        }
    })?;
    tour.screen.happened(
        "carried",
        &format!(
            "{} is connected via {}, which sees only sealed packets",
            tour.node,
            text(&row["via"])
        ),
    );
    Ok(())
}

/// Heals it, and waits until the node goes by its own path again.
pub(super) fn own_path(tour: &mut Tour<'_>) -> Result<(), String> {
    if !has_neighbour(tour)? {
        return Ok(());
    }
    tour.cluster.obey(&path_to_hub(tour, Verb::Heal))?;
    tour.until(|| {
        let row = tour.at_hub()?;
        match (text(&row["state"]), text(&row["via"])) {
            ("connected", "") => Ok(()),
            (state, via) => Err(format!("the hub says that {} is {state}, via `{via}`", tour.node)),
        }
    })?;
    tour.screen.happened(
        "own path",
        &format!(
            "{} has taken its own path back, after it had answered three times",
            tour.node
        ),
    );
    Ok(())
}
