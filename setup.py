"""What pyproject.toml cannot say: the configs, which lie beside the package in a checkout, are part of it in a wheel."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = sorted(path.as_posix() for path in Path("configs").glob("*.yaml"))


class WithConfigs(build_py):
    """configs/*.yaml as otto_gpu/configs/. What is installed to be edited (pip install -e) reads those of the checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for name in CONFIGS:
                self.mkpath(str(Path(self._packaged(name)).parent))
                self.copy_file(name, self._packaged(name))

    def get_outputs(self, include_bytecode=True):
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else map(self._packaged, CONFIGS))]

    def get_source_files(self):
        return [*super().get_source_files(), *CONFIGS]  # of a source distribution

    def _packaged(self, name: str) -> str:
        return str(Path(self.build_lib, "otto_gpu", name))


setup(cmdclass={"build_py": WithConfigs})
