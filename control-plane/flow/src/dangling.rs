//! The condition `Dangling` of a FlowSchema: whether it names a level that is not there. Pure.

use serde_json::{Value, json};

const KIND: &str = "Dangling";

/// All conditions of the schema, with the one that it should have; None where it has it. `now` is a time as the API writes it.
pub fn conditions(schema: &Value, has_level: impl FnOnce(&str) -> bool, now: &Value) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let named = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match has_level(level) {
        true => ("False", "Found", format!("{named} and it exists")),
        false => ("True", "NotFound", format!("{named} but there is no such object")),
    };
    let mut all = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let own = all.iter().position(|condition| condition["type"] == KIND);
    let was = own.map(|at| all.remove(at));
    let is_so = |was: &Value| was["status"] == status && was["reason"] == reason && was["message"] == message;
    if was.as_ref().is_some_and(is_so) {
        return None;
    }
    all.push(json!({
        "type": KIND, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
    }));
    Some(Value::Array(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_told_whether_its_level_is_there() {
        let mut schema = json!({"spec": {"priorityLevelConfiguration": {"name": "l"}},
            "status": {"conditions": [{"type": "Other", "status": "True"}]}});
        let now = json!("2026-01-01T00:00:00Z");
        for (exists, status, message) in [
            (
                false,
                "True",
                "This FlowSchema references the PriorityLevelConfiguration object named \"l\" but there is no such object",
            ),
            (
                true,
                "False",
                "This FlowSchema references the PriorityLevelConfiguration object named \"l\" and it exists",
            ),
        ] {
            let all = conditions(&schema, |level| level == "l" && exists, &now).expect("it changes");
            assert_eq!(all[0]["type"], "Other");
            assert_eq!((&all[1]["status"], &all[1]["message"]), (&json!(status), &json!(message)));
            schema["status"]["conditions"] = all;
            assert_eq!(conditions(&schema, |_| exists, &now), None);
        }
    }
}
