//! The environment of device selectors: what a DeviceClass and a ResourceClaim may ask of a device.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/>

use crate::{Environment, Library, ObjectType, Type};

/// The variable of the device that is asked about.
pub const DEVICE: &str = "device";
/// Attributes and capacities of a device.
const PROPERTIES_MAX: u64 = 32;

/// Driver, attributes and capacity of a device, the last two by domain and then by name. What an attribute is shows when it is
/// looked at: a boolean, a number, a text or a version.
pub fn environment() -> Environment {
    let by_domain = |value: Type| {
        let by_name = Type::map_of(Type::STRING, value, Some(PROPERTIES_MAX));
        Type::map_of(Type::STRING, by_name, Some(PROPERTIES_MAX))
    };
    let device = ObjectType::new("kubernetes.DRADevice")
        .field("driver", Type::STRING)
        .field("attributes", by_domain(Type::Dyn))
        .field("capacity", by_domain(Type::Library(Library::Quantity)))
        .field("allowMultipleAllocations", Type::Bool);
    Environment::new().with(DEVICE, Type::object(device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;

    #[test]
    fn selectors_are_compiled_against_what_a_device_has() {
        let rows = [
            ("device.driver == 'gpu.example.com'", Ok(())),
            ("device.attributes['gpu.example.com'].model == 'a' && device.driver != ''", Ok(())),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('10Gi')) >= 0", Ok(())),
            ("device.attributes['gpu.example.com'].version.isGreaterThan(semver('1.0.0'))", Ok(())),
            ("cel.bind(gpu, device.attributes['gpu.example.com'], gpu.model in ['a', 'b'])", Ok(())),
            ("device.attributes['gpu.example.com'].?model.orValue('') == 'a'", Ok(())),
            ("device.allowMultipleAllocations", Ok(())),
            ("device.driver", Err(())),
            ("device.nothing == 1", Err(())),
            ("device.driver == 1", Err(())),
            ("node.name == 'a'", Err(())),
        ];
        for (text, wanted) in rows {
            let compiled = Program::compile_as(text, &environment(), &[Type::Bool]);
            let shown = compiled.as_ref().map(Program::cost_estimate).map_err(ToString::to_string);
            assert_eq!(compiled.as_ref().map(drop).map_err(drop), wanted, "{text}: {shown:?}");
        }
    }
}
