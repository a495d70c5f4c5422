"""The vendor's schema as far as a buyer's client can use it, in GraphQL's own language.

Output types are as nullable as real replies are, not as the vendor's schema says: certificates, prices and list members
are null now and then despite its exclamation marks.
"""

from __future__ import annotations

from typing import Final

from . import vocabulary as words


def _enum(name: str, values: tuple[str, ...] | str) -> str:
    """A type of these values, given as a tuple or with blanks between."""
    return f"enum {name} {{ {values if isinstance(values, str) else ' '.join(values)} }}\n"


_ENUMS: Final = "".join(
    [
        _enum("DiamondColor", words.COLORS),
        _enum("DiamondClarity", words.CLARITIES),
        _enum("DiamondQuality", words.QUALITIES),
        _enum("DiamondFluorescenseIntensity", words.FLUORESCENCES),
        _enum(
            "DiamondFluorescenseColor",
            "Blue Black Brown Champagne Cognac Chameleon Gray Green Orange Other Pink Purple Red Violet White Yellow",
        ),
        _enum("CertificateLab", words.LABS),
        _enum("Girdle", words.GIRDLES),
        _enum("CuletOption", words.CULETS),
        _enum("InclusionSize", words.INCLUSION_SIZES),
        _enum("InclusionColor", ("black", "white")),
        _enum("EyeClean", ("Yes", "No", "Borderline")),
        _enum("LabgrownType", words.LABGROWN_TYPES),
        _enum("ProductAvailability", words.AVAILABILITIES),
        _enum("ProductType", words.PRODUCT_TYPES),
        _enum("RequestedInfoType", words.REQUESTED_INFO),
        _enum("MineOfOrigin", words.MINES),
        _enum("Currency", words.CURRENCIES),
        _enum("ApprovalType", ("FULL", "INTERNAL")),
        _enum(
            "HoldExtensionStatus",
            ("EXPIRY_NOTIFIED", "SUPPLIER_EXTENDED", "REQUESTED", "ACCEPTED", "REJECTED", "NOT_APPLICABLE"),
        ),
        _enum(
            "DiamondOrderType",
            "createdAt price discount size none insert color clarity cut price_per_carat popular",
        ),
        _enum("OrderDirection", ("ASC", "DESC")),
    ]
)

SDL: Final = (
    _ENUMS
    + """
input IntRange { from: Int! to: Int! }
input FloatRange { from: Float! to: Float! }
input DateRange { from: String to: String }
input DiamondOrder { type: DiamondOrderType! direction: OrderDirection! }

input DiamondQuery {
  color: [DiamondColor] clarity: [DiamondClarity] cut: [DiamondQuality] polish: [DiamondQuality]
  symmetry: [DiamondQuality] certificate_lab: [CertificateLab] availability: [ProductAvailability]
  flouresence: [DiamondFluorescenseIntensity] flouresence_color: [DiamondFluorescenseColor] girdle: [Girdle]
  culet: [CuletOption] eyeClean: [EyeClean]
  sizes: [FloatRange] shapes: [String]
  dollar_value: IntRange dollar_per_carat: IntRange discount: IntRange
  search_on_markup_price: Boolean search_on_preferred_currency: Boolean add_taxes_on_search: Boolean
  table_percentage: FloatRange depth_percentage: FloatRange length_mm: FloatRange width_mm: FloatRange
  depth_mm: FloatRange pav_angle: FloatRange crown_angle: FloatRange ratio: FloatRange pav_percentage: FloatRange
  star_length: FloatRange lower_half: FloatRange
  has_image: Boolean has_v360: Boolean has_certpdf: Boolean has_video: Boolean cv: Boolean
  brown: [Int] green: [Int] blue: [Int] gray: [Int] other: [Int] luster: [Int] noBGM: Boolean delivery_time: [Int]
  sub: Boolean sue: Boolean sul: Boolean suk: Boolean
  fancyColor: [String] fancyIntensity: [String] fancyOvertone: [String]
  certificate_numbers: [String!] suppliers: [ID!] filter_ids: [ID] ids: [String] stone_ids: [String]
  supplier_stock_ids: [String]
  mine_of_origin: [String] mine_to_market: [String] location: [String] key_to_symbols: [String]
  key_to_symbols_contains: Boolean
  labgrown: Boolean labgrown_type: [String] labgrown_certificates: [String] treated: Boolean post_growth: Boolean
  returns: Boolean return_window_timeline: Int hide_memo: Boolean rjc: Boolean is_fbn: Boolean
  sustainability_rated_diamond: Boolean hearts_arrows: Boolean custom_query: Boolean
  updated: DateRange
  inclusion_color: [InclusionColor] inclusion_table: [InclusionSize] inclusion_sides: [InclusionSize]
  open_inclusion_table: [InclusionSize] open_inclusion_sides: [InclusionSize]
  excludeFairPoorCuts: Boolean preferred_currency: Currency
}

type Query {
  as(token: String): Query
  b2c_key(token: String!): Query
  authenticate: Authenticate!
  diamonds_by_query(offset: Int, limit: Int, query: DiamondQuery, order: DiamondOrder): DiamondList
  diamonds_by_query_count(offset: Int, limit: Int, query: DiamondQuery, order: DiamondOrder): Int
  get_diamond_by_id(diamond_id: ID!, preferred_currency: Currency): DiamondItem
}

type Mutation {
  as(token: String!): Mutation
  create_hold(ProductId: ID!, ProductType: ProductType!, requested_info: [RequestedInfoType]): Hold
  cancel_hold(hold_id: ID!): Hold
  create_order(items: [OrderItemInput!]!): String
}

input OrderItemInput {
  offerId: ID! customer_comment: String customer_order_number: String return_option: Boolean destinationId: ID
}

type Authenticate {
  username_and_password(username: String!, password: String!, twofactorauth: String): Session
  username_and_token(username: String!, token: String!): Session
  refresh_token(refresh_token: String!): Session
}

type Session { token: String! expires: Float! refresh_token: String! user: User! hubspot_token: String }
type User { id: ID! email: String role: String country: String }

type Hold {
  id: ID! denied: Boolean until: Float extension_status: HoldExtensionStatus request_date: String
  ProductType: ProductType diamond: Diamond
}

type DiamondList { items: [DiamondItem] total_count: Int! result_count: Int }

type DiamondItem {
  id: ID! price: Int discount: Int markup_price: Int markup_discount: Int diamond_price: Int diamond: Diamond
}

type Diamond {
  id: ID! certificate: Certificate availability: ProductAvailability supplier: Company supplierStockId: String
  NivodaStockId: String image: String video: String supplier_video_link: String v360: V360Info brown: String
  green: String blue: String gray: String other: String milky: String bowtie: String eyeClean: String
  mine_of_origin: String location: String country_of_polishing: String canada_mark_eligible: Boolean
  forever_mark_eligible: Boolean show_measurements: Boolean show_certificate_number: Boolean final_price: Boolean
  approval_type: ApprovalType delivery_time: DeliveryTime return_window: Int CertificateType: String HoldId: ID
  OrderItemId: ID inclusions: [Inclusion!] scs_certificate: String
}

type Certificate {
  id: ID! lab: CertificateLab certNumber: String shape: String fullShape: String carats: Float clarity: DiamondClarity
  cut: DiamondQuality polish: DiamondQuality symmetry: DiamondQuality color: DiamondColor f_color: String
  f_intensity: String f_overtone: String colorShade: String length: String width: String depth: String
  depthPercentage: String table: String crownAngle: String crownHeight: String pavAngle: String pavHeight: String
  pavDepth: String starLength: String lowerGirdle: String girdle: String girdleCondition: String
  culet_condition: String cut_style: String mix_tinge: String eyeclean: String brown: String green: String
  blue: String gray: String milky: String bowtie: String culetSize: String comments: String keyToSymbols: String
  floInt: DiamondFluorescenseIntensity floCol: String verified: String pdfUrl: String masked_pdf_url: String
  image: String video: String v360: V360Info labgrown: Boolean labgrown_type: LabgrownType treated: Boolean
  country_of_origin: MineOfOrigin canada_mark_eligible: Boolean inclusions: [Inclusion]
  product_images: [ProductMedia!] product_videos: [ProductMedia!]
}

type Company { id: ID! name: String legal_name: String }
type V360Info { id: ID url: String! frame_count: Int! renumbered: Boolean top_index: Int dl_link: String }
type DeliveryTime { express_timeline_applicable: Boolean min_business_days: Int! max_business_days: Int! }
type Inclusion { type: String }
type ProductMedia { id: ID url: String loupe360_url: String type: String display_index: Int }
"""
)
