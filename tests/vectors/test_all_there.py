"""Every vector of the specification has exactly one test, with a line that says what it is about."""

from __future__ import annotations

import ast
import re
from pathlib import Path

# Numbers of sections F.1 to F.13; those missing are kept back for independent verification.
NUMBERS = """
    1 2 4 5 6 9 10 11 13
    15 16 17 20 21 22 23 25 27 28
    31 32 33 34 36 38 39 41 43 44 46 47 48 50 51 53 54 55 57 58 60 61 63 65 66 68 69
    71 72 73 75 76 78 80 81 82 83 85 86 88 89 90 92 93 96 97 99
    101 102 104 106 108 109 111 113 114 116 117 118 120 122 123 125 126 127 129 130 131 133 134 136 137 139 141 142 144
    145 146 147 148 150 152 153 155 157 159 160 162 163 165 166 167 168 171 173
    174 175 176 178 180 182 184 185 186 188 189 190 191 193 195 197 198
    200 201 202 203 205 206 208 209 211 213 215 217 218 219 220 222 224 225
    226 228 229 231 233 234 235 237 239 241 243 244 245
    246 248 249 252 253 254 256 257 259 261 262 264 266 268 269 270 272 273 275
    277 278 279 282 284
    286 288 289 291 292 295
    296 297 299 300 301 304 305 307 308 310 312 314
"""


def test_every_vector_has_a_test() -> None:
    found: list[int] = []
    for file in sorted(Path(__file__).parent.glob("test_f*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (name := re.fullmatch(r"test_v(\d{3})", node.name)):
                assert "\n" not in (ast.get_docstring(node) or "\n"), f"{node.name} needs a docstring of one line"
                found.append(int(name[1]))
    assert found == [int(number) for number in NUMBERS.split()]
